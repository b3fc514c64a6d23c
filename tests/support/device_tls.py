"""Certificates for tests of an agent alone: one CA, a server, and devices that belong to it."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

import grpc

from fleetmark_agent.state import identity
from fleetmark_agent.state.identity import ACTIVE, Enrollment
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.certificates import Pair
from fleetmark_controller.identity.model import IdentityKind
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.device_keys import make_key, pem_sha256, signing_request

LIFE_NS = 30 * 86_400 * 10**9


@lru_cache
def authority() -> Pair:
    return certificates.make_ca(time.time_ns())


def server_credentials() -> grpc.ServerCredentials:
    ca = authority()
    pair = certificates.make_server(ca, time.time_ns())
    return grpc.ssl_server_credentials(
        [(pair.key, pair.certificate + ca.certificate)], ca.certificate, True
    )


def enroll(home: Path, address: str, life_ns: int = LIFE_NS) -> None:
    """Make a home one of an enrolled device."""
    device_id = identity.device_id(home)
    key, now_ns = make_key(), time.time_ns()
    request = certificates.read_request(signing_request(key))
    signed, expires_ns = certificates.sign(
        authority(), request, IdentityKind.DEVICE, device_id, now_ns, life_ns
    )
    folder = identity.folder(home)
    write_atomic(folder / identity.KEY, key, private=True)
    write_atomic(folder / identity.CA, authority().certificate, private=True)
    write_atomic(folder / identity.CERTIFICATE, signed, private=True)
    ca_sha256 = pem_sha256(authority().certificate)
    identity.save_enrollment(
        home, Enrollment(ACTIVE, address, 1, ca_sha256, "", now_ns, expires_ns)
    )
