"""Every call that exists, made by everybody: the table of roles is complete, and it is what counts.

The calls are enumerated from the descriptors of the wire, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import grpc
import pytest

import fleetmark_protos.v1
from fleetmark_controller.identity.model import Caller, IdentityKind, Role
from fleetmark_controller.identity.permissions import RULES
from tests.security.attacks.target import Member, Target, outcome

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("attacks")]


def every_method() -> dict[str, Any]:
    found = {}
    for info in pkgutil.iter_modules(fleetmark_protos.v1.__path__):
        if info.name.endswith("_pb2"):
            module = importlib.import_module(f"fleetmark_protos.v1.{info.name}")
            for service in module.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    found[f"/{service.full_name}/{method.name}"] = method
    return found


METHODS = every_method()
CALLERS = ("anonymous", "device", *(role.value for role in Role))


def test_the_table_names_every_call_and_no_other() -> None:
    assert set(RULES) == set(METHODS)
    assert len(METHODS) >= 30


def call(channel: grpc.Channel, path: str, timeout_s: float = 20.0) -> object:
    """Make a call with an empty request, which is validated only after authorization."""
    method = METHODS[path]
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    stub = kinds[method.client_streaming, method.server_streaming](path)
    return stub(iter([b""]) if method.client_streaming else b"", timeout=timeout_s)


@pytest.mark.parametrize("caller", CALLERS)
def test_each_call_by_each_caller(target: Target, caller: str) -> None:
    if caller == "anonymous":
        ports = [target.stubs().channel, target.stubs(None, target.fleet.address).channel]
        for path, rule in RULES.items():
            open_port, closed_port = (outcome(lambda c=c, p=path: call(c, p)) for c in ports)
            assert closed_port == "UNAVAILABLE", path
            assert (open_port != "UNIMPLEMENTED") == rule.anyone, path
        return
    member: Member = target.mallory if caller == "device" else target.operators[caller]
    who = Caller(
        IdentityKind.DEVICE if caller == "device" else IdentityKind.OPERATOR,
        "",
        "",
        None if caller == "device" else Role(caller),
    )
    stubs = target.stubs(member)
    for path, rule in RULES.items():
        if rule.anyone:
            assert outcome(lambda p=path: call(stubs.channel, p)) == "UNIMPLEMENTED"
            continue
        # A stream that is allowed may have nothing to say: its deadline is as good an answer.
        silent = METHODS[path].server_streaming and rule.allows(who)
        wait_s = 2.0 if silent else 20.0
        found = outcome(lambda p=path, w=wait_s: call(stubs.channel, p, w))
        if rule.allows(who):
            # An agent's blobs are further restricted by its orders.
            ours = caller == "device" and path.startswith("/fleetmark.v1.Blobs/")
            assert ours or found != "FORBIDDEN", path
            assert found not in ("UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE"), path
        else:
            assert found == "FORBIDDEN", path
    assert target.answers()
