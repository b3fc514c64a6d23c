"""MkDocs hook: shows documents of other folders as pages, and makes links work on the site.

The documents link to each other by their paths in the repository, so that the links also work in a
checkout. On the site, a link to a document leads to its page, and a link to another file to the
repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {
    "deploy/README.md": "how-to/install.md",
    "catalog/README.md": "how-to/add-components.md",
    "CONTRIBUTING.md": "how-to/contribute.md",
    "CHANGELOG.md": "reference/changes.md",
    "SECURITY.md": "explanation/security.md",
    "bench/README.md": "explanation/benches.md",
}
"""Documents that are not in docs/, and their pages on the site."""

_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_BLOCK_OF_CODE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of other folders, and the style sheet beside this file, to the site."""
    from mkdocs.structure.files import File

    style = Path(__file__).with_name("site.css")
    files.append(File.generated(config, style.name, abs_src_path=str(style)))
    for document, page in DOCUMENTS.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / document)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of one page."""
    repository = str(config.extra["repository"])
    uris = {file.src_uri for file in files}
    parts = _BLOCK_OF_CODE.split(markdown)
    return "".join(
        part
        if part.lstrip().startswith("```")
        else _LINK.sub(lambda link: site_link(link[1], page.file.src_uri, uris, repository), part)
        for part in parts
    )


def site_link(link: str, page: str, uris: set[str], repository: str) -> str:
    """Return the link that has the meaning of `link` on the site.

    Args:
        link: a link of a document: relative to its path in the repository, or absolute.
        page: the page of that document, relative to the root of the site's documents.
        uris: all pages and other files of the site.
        repository: address of the repository. A link below `repository/blob/main/` names a file of
            the repository, as a relative link does.
    """
    own_tree = f"{repository}/blob/main/"
    target, mark, fragment = link.partition("#")
    if link.startswith(own_tree):
        path = target.removeprefix(own_tree)
    elif not target or urlsplit(link).scheme:
        return link
    else:
        path = posixpath.normpath(PurePosixPath(_document(page)).parent / target)
    uri = DOCUMENTS.get(path) or path.removeprefix("docs/")
    if uri in uris and (path in DOCUMENTS or path.startswith("docs/")):
        return posixpath.relpath(uri, PurePosixPath(page).parent) + mark + fragment
    return f"{own_tree}{path}{mark}{fragment}"


def _document(page: str) -> str:
    """Return the path in the repository of the document of a page."""
    paths = {uri: document for document, uri in DOCUMENTS.items()}
    return paths.get(page, f"docs/{page}")
