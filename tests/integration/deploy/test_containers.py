"""The containers without a container engine: their steps, run into a folder, and what comes out."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support import ROOT
from tests.support.kits import DEPLOY, copy_context
from tests.support.processes import environment, fleet_in, until

ROLES = ("agent", "controller")
HOME = "/var/lib/fleetmark"


def instructions(role: str) -> list[tuple[str, str]]:
    """Instruction and argument of each line of a Containerfile."""
    text = (DEPLOY / "container" / f"Containerfile.{role}").read_text().replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def last(role: str, word: str) -> str:
    return [rest for found, rest in instructions(role) if found == word][-1]


def variables(role: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in last(role, "ENV").split())


def compose() -> Any:
    return YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text())


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.xdist_group("deploy")
def test_the_steps_of_both_make_programs_that_do_a_job_together(tmp_path: Path) -> None:
    """From the build context alone, over the index; the health checks hold as they are written."""
    from tests.support.noop_benchmark import NAME as TOY
    from tests.support.noop_benchmark import make_catalog

    copy_context(tmp_path / "src")
    env = {**environment(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    entry = {}
    for role in ROLES:
        place = tmp_path / role
        (step,) = [s for word, s in instructions(role) if word == "RUN" and s.startswith("sh ")]
        step = step.replace("/src/", f"{tmp_path}/src/").replace("/opt/fleetmark", str(place))
        done = subprocess.run(
            shlex.split(step), env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        program = YAML(typ="safe").load(last(role, "ENTRYPOINT"))[0]
        entry[role] = program.replace("/opt/fleetmark", str(place))

    services = compose()["services"]
    with fleet_in(tmp_path / "fleet") as fleet:
        homes = {"controller": fleet.home, "agent": fleet.folder / "device"}

        def command(role: str, *arguments: str) -> list[str]:
            return [entry[role], *arguments]

        def within(role: str) -> dict[str, str]:
            made = {k: v.replace(HOME, str(homes[role])) for k, v in variables(role).items()}
            made["PATH"] = f"{tmp_path / role}/bin:{os.environ['PATH']}"
            return {**environment(), **made, "FLEETMARK_CONTROLLER": fleet.address}

        def healthy(role: str) -> bool:
            kind, *check = services[role]["healthcheck"]["test"]
            line = ["sh", "-c", *check] if kind == "CMD-SHELL" else check
            done = subprocess.run(line, env=within(role), capture_output=True, check=False)
            return done.returncode == 0

        for role in ROLES:
            assert not healthy(role)
        catalog = make_catalog(tmp_path / "catalog")
        starts = {
            "controller": ("serve", "--listen", fleet.address, "--catalog", str(catalog)),
            "agent": ("start", "--name", "container", "--allow-folder", str(fleet.marks)),
        }
        for role in reversed(ROLES):
            token = {"FLEETMARK_TOKEN": fleet.token} if role == "agent" else {}
            words = shlex.split(services[role]["command"].split("$")[0])
            assert starts[role][0] == words[0]
            with (tmp_path / f"{role}.log").open("wb") as log:
                fleet.children[role] = subprocess.Popen(
                    command(role, *starts[role]),
                    env={**within(role), **token},
                    stdout=log,
                    stderr=log,
                )
            until(lambda role=role: healthy(role), f"a healthy {role}")
        done = fleet.run("schedule", TOY, "--param", f"marks={fleet.marks}", "--wait")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_an_image_is_small_and_not_roots(role: str) -> None:
    words = [word for word, _ in instructions(role)]
    assert words.count("FROM") == 2, "what builds is not in the image"
    assert [rest for word, rest in instructions(role) if word == "FROM"][-1] == "${BASE}"
    assert last(role, "USER") == "10001:10001"
    assert "USER" not in words[: words.index("COPY")]
    assert last(role, "VOLUME") == HOME == variables(role)["HOME"]


def test_compose_builds_these_images_and_keeps_their_homes() -> None:
    document = compose()
    assert set(document["services"]) == set(ROLES)
    for role, service in document["services"].items():
        build = service["build"]
        context = (DEPLOY / build["context"]).resolve()
        assert context == ROOT
        assert (context / build["dockerfile"]).is_file()
        base = next(rest for word, rest in instructions(role) if word == "ARG")
        assert build["args"]["BASE"] == "${FLEETMARK_BASE:-" + base.split("=")[1] + "}"
        assert service["volumes"] == [f"{role}:{HOME}"]
        assert role in document["volumes"]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert set(service["healthcheck"]) >= {"test", "interval", "timeout", "start_period"}


def test_compose_publishes_the_ports_that_devices_dial() -> None:
    """A join token carries the port for new devices: outside it must be the same."""
    from fleetmark_protos.channel import DEFAULT_PORT

    ports = [str(DEFAULT_PORT), str(DEFAULT_PORT + 1)]
    services = compose()["services"]
    assert services["controller"]["ports"] == [f"{port}:{port}" for port in ports]
    assert last("controller", "EXPOSE").split() == ports
    assert services["agent"]["network_mode"] == "service:controller"


def test_the_schema_can_fail(tmp_path: Path) -> None:
    """`make lint` holds compose.yaml against the schema of the Compose specification."""
    bad = tmp_path / "compose.yaml"
    bad.write_text((DEPLOY / "compose.yaml").read_text().replace("cap_drop:", "cap_dropp:"))
    program = Path(sys.executable).parent / "check-jsonschema"
    command = [program, "--builtin-schema", "vendor.compose-spec", bad]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
