"""Documents that are made from code are what the code gives."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from fleetmark_agent.config.loader import KEYS
from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.runner import job_result
from fleetmark_cli.variables import VARIABLES
from fleetmark_controller.evaluation.records import RESULT_SCHEMA
from fleetmark_controller.export import document
from fleetmark_controller.home.settings import ControllerSettings
from fleetmark_controller.store.db.connection import connect, migrate
from fleetmark_controller.store.results import public_views
from fleetmark_core.telemetry_columns import TELEMETRY_COLUMNS
from tests.support import ROOT


def test_the_document_of_the_views_is_up_to_date() -> None:
    assert (ROOT / "docs" / "reference" / "views.md").read_text() == document.text()


def test_the_page_of_the_configuration_is_up_to_date() -> None:
    """`make docs` writes it anew."""
    assert (ROOT / "docs" / "reference" / "configuration.md").read_text() == configuration_page()


def configuration_page() -> str:
    return str(site_module("write_configuration").text())


@pytest.mark.parametrize("program", ["agent", "controller"])
def test_the_pages_of_the_commands_are_up_to_date(program: str) -> None:
    """`make docs` writes them."""
    page = (ROOT / "docs" / "reference" / f"{program}-commands.md").read_text()
    assert page == site_module("write_commands").text(program)


def test_a_page_of_commands_has_every_visible_command_and_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @click.group()
    def tool() -> None:
        """Do *things* with <files>."""

    @tool.command()
    @click.argument("file")
    @click.option("--level", metavar="A|B", default="A", show_default=True, help="The `a|b` level.")
    def shown(file: str, level: str) -> None:
        """Show FILE."""

    @tool.command(hidden=True)
    def internal() -> None:
        """Do what no user needs."""

    @tool.group()
    def part() -> None:
        """Manage parts."""

    @part.command()
    def list() -> None:
        """List parts."""

    module = site_module("write_commands")
    monkeypatch.setitem(module.PROGRAMS, "tool", tool)
    page = module.text("tool")
    headings = re.findall(r"^(#+ .*)$", page, re.MULTILINE)
    assert headings == ["# The command tool", "## tool part", "### tool part list", "## tool shown"]
    assert "tool shown [OPTIONS] FILE" in page
    assert "| `--level A\\|B` | The `a\\|b` level. [default: A] |" in page
    assert "Do \\*things\\* with \\<files>." in page


def test_the_page_of_the_protocol_has_every_call_and_message() -> None:
    page = (ROOT / "docs" / "reference" / "protocol.md").read_text()
    sources = [path.read_text() for path in (ROOT / "protos").rglob("*.proto")]
    calls = {name for text in sources for name in re.findall(r"^  rpc (\w+)", text, re.MULTILINE)}
    types = {
        name
        for text in sources
        for name in re.findall(r"^(?:message|enum) (\w+)", text, re.MULTILINE)
    }
    assert calls <= set(re.findall(r"^\| `(\w+)` \| \w+", page, re.MULTILINE))
    assert types <= set(re.findall(r"^### (\w+)$", page, re.MULTILINE))


@pytest.mark.parametrize(
    ("page", "link", "shown"),
    [
        ("reference/views.md", "glossary.md", "glossary.md"),
        ("reference/identity.md", "../../SECURITY.md", "../explanation/security.md"),
        ("explanation/security.md", "docs/explanation/sandbox.md", "sandbox.md"),
        (
            "how-to/install.md",
            "../docs/reference/identity.md#ports",
            "../reference/identity.md#ports",
        ),
        ("index.md", "../README.md", "https://host/us/blob/main/README.md"),
        ("index.md", "https://host/us/blob/main/docs/reference/views.md", "reference/views.md"),
        ("index.md", "https://host/us/blob/main/LICENSE", "https://host/us/blob/main/LICENSE"),
        ("index.md", "https://elsewhere/a.md", "https://elsewhere/a.md"),
        ("index.md", "#here", "#here"),
    ],
)
def test_a_link_has_the_same_meaning_on_the_site(page: str, link: str, shown: str) -> None:
    uris = {
        *("index.md", "reference/views.md", "reference/glossary.md", "reference/identity.md"),
        *("explanation/security.md", "explanation/sandbox.md", "how-to/install.md"),
    }
    assert site_module("repository_links").site_link(link, page, uris, "https://host/us") == shown


def site_module(name: str) -> Any:
    """Import a module of docs/site, which is no package."""
    path = ROOT / "docs" / "site" / f"{name}.py"
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_key_of_both_configurations_is_on_the_page() -> None:
    page = configuration_page()
    keys = re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)
    controller = [field.name for field in fields(ControllerSettings)]
    assert sorted(keys) == sorted([*KEYS, *controller])
    assert set(KEYS) < {field.name for field in fields(AgentSettings)}
    # A key without a meaning, or one that is cut off, would leave an empty cell.
    assert not re.findall(r"\|  \|$", page, re.MULTILINE)


def test_every_variable_that_the_code_reads_is_on_the_page() -> None:
    known = {variable.name for variable in VARIABLES}
    files = [
        path
        for folder in ("agent", "cli", "controller", "core", "protos", "catalog", "deploy", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.suffix not in (".txt", ".onnx")
    ]
    texts = [path.read_text(errors="replace") for path in [*files, ROOT / "Makefile"]]
    named = {name for text in texts for name in re.findall(r"FLEETMARK_[A-Z]+[A-Z_]*[A-Z]", text)}
    assert named == {name for name in known if name.startswith("FLEETMARK_")}
    read = r"""(?:environ(?:\.get|\.pop|\.setdefault)?[\[(]|envvar=|user_folder\()\s*"([A-Z_]+)\""""
    found = {name for text in texts for name in re.findall(read, text)}
    assert found - {"PATH"} <= known
    assert {"FLEETMARK_CONTROLLER", "XDG_CONFIG_HOME", "GRPC_VERBOSITY"} <= found


def test_every_public_view_is_documented() -> None:
    assert set(public_views.VIEWS) <= set(document.VIEWS)


def test_the_exit_codes_of_the_job_contract_are_those_of_harness_and_agent() -> None:
    page = (ROOT / "docs" / "reference" / "job-contract.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    harness = (ROOT / "catalog" / "fleetmark_harness" / "exit_codes.py").read_text()
    in_harness = {int(code) for code in re.findall(r"^[A-Z_]+ = (\d+)$", harness, re.MULTILINE)}
    assert documented - {127} == in_harness
    assert set(job_result._EXIT_TEXTS) == documented - {0, 1}


def test_the_job_contract_names_every_key_of_a_result() -> None:
    page = (ROOT / "docs" / "reference" / "job-contract.md").read_text()
    rows = re.findall(r"^\| (`[a-z].*?) \| (.*?) \|$", page, re.MULTILINE)
    documented = {key for names, _ in rows for key in re.findall(r"`(\w+)`", names)}
    assert documented == set(RESULT_SCHEMA["properties"])
    for names, value in rows:
        for key in re.findall(r"`(\w+)`", names):
            inner = RESULT_SCHEMA["properties"][key].get("properties", {})
            assert set(re.findall(r"`(\w+)`", value)) == set(inner)


def test_the_telemetry_view_reads_the_columns_in_the_order_in_which_agents_write_them(
    tmp_path: Path,
) -> None:
    migrate(tmp_path / "results.db")
    columns, _ = public_views.select(connect(tmp_path / "results.db"), "telemetry")
    assert columns == ["run_id", "campaign_id", "device", *TELEMETRY_COLUMNS]
