"""Links between the documents of the repository lead to files and headings that exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDERS = (".github", "bench", "catalog", "deploy", "docs", "tests")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))]
)
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
OWN_FILES = re.compile(re.escape(URLS["Source"]) + r"/(?:blob|tree|raw)/main/")


def prose(document: Path) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(document: Path) -> list[str]:
    """Return the targets of a document's links, those of its reference definitions too."""
    text = prose(document)
    defined = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.MULTILINE))
    # A reference without a definition is shown as plain text.
    used = set(re.findall(r"\]\[([\w-]+)\]", text))
    assert used == set(defined), f"{document}: undefined or unused: {used ^ set(defined)}"
    return [*re.findall(r"\]\(<?([^)\s>]+)", text), *defined.values()]


def headings(document: Path) -> set[str]:
    """Return the anchors of a document, as GitHub and the site make them."""
    titles = re.findall(r"^#+ +(.+?) *$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken(document: Path, link: str) -> bool:
    target, _, fragment = link.partition("#")
    if OWN_FILES.match(link):
        path = ROOT / OWN_FILES.sub("", target)
    elif urlsplit(link).scheme:
        return False
    else:
        path = (document.parent / target) if target else document
    return not path.exists() or (bool(fragment) and fragment not in headings(path))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_of_a_document_is_broken(document: Path) -> None:
    assert [link for link in links(document) if broken(document, link)] == []


def test_the_links_of_the_readme_work_on_a_package_index() -> None:
    """A package index shows the README without the files beside it."""
    assert [link for link in links(ROOT / "README.md") if not urlsplit(link).scheme] == []
    assert any(OWN_FILES.match(link) for link in links(ROOT / "README.md"))


@pytest.mark.parametrize("name", URLS)
def test_the_links_of_the_package_lead_to_files_of_the_repository(name: str) -> None:
    assert URLS[name].startswith(URLS["Source"])
    assert not broken(ROOT / "pyproject.toml", URLS[name])
    assert f"repository: {URLS['Source']}\n" in (ROOT / "docs" / "site" / "mkdocs.yml").read_text()


def test_broken_links_are_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# One title\n\n```\n# no heading\n```\n\n[x](b.md) [y][y]\n\n[y]: c.md\n")
    assert links(document) == ["b.md", "c.md"]
    source = URLS["Source"]
    good = ("#one-title", "a.md#one-title", f"{source}/blob/main/README.md", "https://host/x")
    bad = ("#no-heading", "a.md#other", "b.md", f"{source}/blob/main/no-such-file.md")
    assert [link for link in (*good, *bad) if broken(document, link)] == list(bad)
