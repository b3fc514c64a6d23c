"""Names, ids and files that devices and operators hand in: refused by name, and nothing changed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetmark_core.bundle_file import DeviceSignedDocument
from fleetmark_core.device_keys import make_key, sign_document, signing_request
from fleetmark_core.serde import to_plain
from fleetmark_protos.v1 import fleet_pb2, session_pb2
from tests.security.attacks.target import FACTS, Stream, Target, outcome

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("attacks")]

NAMES = {
    "a Cyrillic letter": "v\u0456ctim",
    "letters of full width": "\uff56ictim",
    "a space that is not seen": "victim\u200b",
    "text that runs backward": "\u202emitciv",
    "an accent": "v\u00edctim",
    "a dash at its beginning": "-rf",
    "dots alone": "..",
    "a path": "a/b",
    "a space at its end": "victim ",
    "a line's end": "victim\n",
    "nothing": "",
    "64 letters": "x" * 64,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_device_cannot_apply_with_it(target: Target, name: str) -> None:
    before = target.snapshot()
    token = target.token(approve=True)
    after_token = target.snapshot()
    del after_token["token"], before["token"]
    request = target.application(name, token, make_key(), str(uuid.uuid4()))
    assert outcome(lambda: target.stubs().enrollment.Enroll(request)) == "BAD_MESSAGE"
    now = target.snapshot()
    del now["token"]
    assert now == after_token
    assert target.answers()


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_hello_cannot_bring_it(target: Target, name: str) -> None:
    before = target.snapshot()
    hello = target.hello(target.mallory, name=name)
    output = session_pb2.AgentMessage(hello=hello)
    assert outcome(lambda: target.connect(target.mallory, output)) == "BAD_MESSAGE"
    assert target.snapshot() == before and target.refusals()[-1][2] == "BAD_MESSAGE"


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_operator_cannot_give_it(target: Target, name: str) -> None:
    before = target.snapshot()
    request = fleet_pb2.RenameRequest(name="victim", new_name=name)
    stubs = target.stubs(target.operators["operator"])
    assert outcome(lambda: stubs.fleet.Rename(request)) == "USAGE"
    assert target.snapshot() == before


ALIKE = ["v1ctim", "VICTIM", "vlctim", "Victim"]


@pytest.mark.parametrize("name", ALIKE)
def test_a_name_that_looks_like_anothers_waits_for_a_operator(target: Target, name: str) -> None:
    """Its token approves, but its name is one that is there."""
    request = target.application(name, target.token(approve=True), make_key(), str(uuid.uuid4()))
    call = target.stubs().enrollment.Enroll(request)
    assert next(call).WhichOneof("body") == "pending"
    call.cancel()
    (row,) = target.fleet.query(
        f"SELECT name FROM identity WHERE name LIKE '{name}-%' COLLATE BINARY LIMIT 1"
    )
    assert row[0] != name


@pytest.mark.parametrize("name", ALIKE)
def test_an_operator_cannot_make_two_devices_look_alike(target: Target, name: str) -> None:
    Stream(target.stubs(target.mallory), target.hello(target.mallory)).end()
    before = target.snapshot()
    request = fleet_pb2.RenameRequest(name="mallory", new_name=name)
    stubs = target.stubs(target.operators["operator"])
    assert outcome(lambda: stubs.fleet.Rename(request)) == "USAGE"
    assert target.snapshot() == before


def device_file(**changes: Any) -> bytes:
    """Return a file as of `agent export-identity`, with other values, signed by its own key."""
    facts: Any = to_plain(FACTS)
    document = {
        "format": 1,
        "device_id": str(uuid.uuid4()),
        "name": "island",
        "agent_version": "0.1.0",
        "capabilities": facts,
    }
    for path, value in changes.items():
        holder: Any = document
        *outer, last = path.split("__")
        for name in outer:
            holder = holder[name]
        holder[last] = value
    data = json.dumps(document).encode()
    key = make_key()
    return DeviceSignedDocument(data, signing_request(key), sign_document(key, data)).canonical()


DOCUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "negative memory": ({"capabilities__memory__total_bytes": -5}, "memory.total_bytes of -5"),
    "memory of 2^70": ({"capabilities__memory__total_bytes": 2**70}, "memory.total_bytes"),
    "memory that is true": ({"capabilities__memory__total_bytes": True}, "total_bytes"),
    "-1 cores": ({"capabilities__cpu__logical_cores": -1}, "cpu.logical_cores of -1"),
    "a negative disk": ({"capabilities__storage__free_bytes": -1}, "storage.free_bytes of -1"),
    "an id that is a path": ({"device_id": "../../x"}, "not a UUID"),
    "an id of 10,000 letters": ({"device_id": "d" * 10_000}, "not a UUID"),
    "an id that moves the cursor": ({"device_id": "\x1b[2J"}, "not a UUID"),
    "no id": ({"device_id": ""}, "not a UUID"),
    "a name of another alphabet": ({"name": "v\u0456ctim"}, "not a valid device name"),
    "a name that moves the cursor": ({"name": "\x1b[2J"}, "not a valid device name"),
    "facts that are a list": ({"capabilities": [1]}, "capabilities"),
    "a format of the future": ({"format": "2"}, "format"),
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_a_device_file_is_refused_by_name(target: Target, tmp_path: Path, what: str) -> None:
    changes, says = DOCUMENTS[what]
    before, path = target.snapshot(), tmp_path / "island.json"
    path.write_bytes(device_file(**changes))
    done = target.fleet.run("fleet", "add", str(path))
    assert done.returncode in (2, 4), done.stderr
    assert says in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stderr.rstrip("\n").isprintable() and "Traceback" not in done.stderr
    assert target.snapshot() == before
    assert target.refusals()[-1][1].endswith("AddDevice")
    assert target.answers()


def test_a_valid_device_file_is_accepted(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "island.json"
    path.write_bytes(device_file())
    done = target.fleet.run("fleet", "add", str(path))
    assert done.returncode == 0, done.stderr
    target.stubs(target.admin).fleet.Remove(fleet_pb2.RemoveRequest(name="island"))


IDS: dict[str, Callable[[Target], Any]] = {
    "a boot id that is a path": lambda t: t.hello(t.mallory, boot_id="../../x"),
    "a boot id with a line's end": lambda t: t.hello(t.mallory, boot_id="b\n"),
    "a boot id with a space": lambda t: t.hello(t.mallory, boot_id="a b"),
    "a boot id of another alphabet": lambda t: t.hello(t.mallory, boot_id="\u0456"),
    "a boot id without end": lambda t: t.hello(t.mallory, boot_id="b" * 101),
}


@pytest.mark.parametrize("what", IDS)
def test_an_id_that_is_none_is_refused(target: Target, what: str) -> None:
    before = target.snapshot()
    output = session_pb2.AgentMessage(hello=IDS[what](target))
    assert outcome(lambda: target.connect(target.mallory, output)) == "BAD_MESSAGE"
    assert target.snapshot() == before and target.refusals()[-1][2] == "BAD_MESSAGE"
