"""Enroll this device or renew its certificate: `python -I -m fleetmark_agent.helpers.enroll`.

It is a separate process, so that an idle agent does not hold the modules that it loads. It reads
one JSON document (`EnrollmentTask`) from stdin, so that the token appears in no argument list and
no environment.

It prints JSON lines: {"event": "waiting" | "pending" | "skew" | "enrolled" | "failed",
…}. It ends with its parent. Its stored state is consistent after every step, so it may be killed
and run again.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from fleetmark_agent.errors import from_os_error
from fleetmark_agent.helpers.tls_probe import trusted_ca
from fleetmark_agent.state import identity
from fleetmark_agent.state.identity import ACTIVE, CA, CERTIFICATE, KEY, PENDING, Enrollment
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.device_keys import key_fingerprint, make_key, signing_request
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular
from fleetmark_core.retry import Backoff, ReasonThrottle
from fleetmark_core.tunnel_address import grpc_target, join_address, split_address
from fleetmark_protos.channel import client_options
from fleetmark_protos.status import from_rpc_error
from fleetmark_protos.token import EnrollmentToken, TokenError, parse_token
from fleetmark_protos.v1 import enrollment_pb2, enrollment_pb2_grpc

_CALL_S = 20.0
_DELAYS_S = (0.3, 10.0)
_SKEW_NS = 120 * 10**9
_PASSING = {
    ErrorKind.UNREACHABLE,
    ErrorKind.STORE_UNUSABLE,
    ErrorKind.DISK_FULL,
    ErrorKind.INTERNAL,
    ErrorKind.TOO_MANY_ATTEMPTS,
}
_NEW_KEY = {ErrorKind.REVOKED, ErrorKind.FORBIDDEN}


@dataclass(frozen=True)
class EnrollmentTask:
    """The request to this process.

    Attributes:
        token: the enrollment token; empty to use the stored enrollment.
        renew: whether to renew the certificate.
        patient: whether to retry while the controller cannot be reached.
    """

    home: str
    address: str
    name: str
    token: str = ""
    renew: bool = False
    patient: bool = True


def main() -> int:
    """Enroll or renew; return 0 on success, or 1 after a `failed` event."""
    task = EnrollmentTask(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _retry_until_done(task)
    except FleetmarkError as error:
        _send_event(
            "failed",
            kind=error.kind.number,
            what=error.what,
            where=error.where,
            next_step=error.next_step,
        )
        return 1
    except OSError as error:
        found = from_os_error(error, task.home)
        _send_event(
            "failed",
            kind=found.kind.number,
            what=found.what,
            where=found.where,
            next_step=found.next_step,
        )
        return 1
    return 0


def _retry_until_done(task: EnrollmentTask) -> None:
    """Try until the device is enrolled or refused; an unreachable controller may answer later."""
    backoff, throttle = Backoff(*_DELAYS_S, jitter=0.5), ReasonThrottle()
    while True:
        try:
            _EnrollmentAttempt(task).run()
            return
        except FleetmarkError as error:
            if error.kind not in _PASSING or not task.patient:
                raise
            if throttle.is_due(str(error), time.monotonic()):
                _send_event("waiting", why=str(error))
        # Not in step with a whole fleet that waits for the same controller.
        time.sleep(backoff.next_s())


class _EnrollmentAttempt:
    """One try to enroll or to renew."""

    def __init__(self, task: EnrollmentTask) -> None:
        self._task = task
        self._address = task.address
        self._home = Path(task.home)
        self._folder = identity.folder(self._home)
        self._token = _token(task.token)
        self._known = identity.load_enrollment(self._home)
        if self._token is None and self._known is None:
            raise identity.not_enrolled_error(str(self._folder))

    def run(self) -> None:
        known, token = self._known, self._token
        if token is not None and (known is None or known.ca_sha256 != token.ca_sha256):
            # A different controller: the key that the previous controller knows is not shown to it.
            known = Enrollment(
                PENDING, self._task.address, token.entry_port, token.ca_sha256, token.catalog_sha256
            )
            fresh = self._known is not None
        else:
            assert known is not None
            fresh = not (self._folder / KEY).exists()
        typed = self._task.address
        host, port = split_address(typed)
        ca = trusted_ca(host, known.entry_port, known.ca_sha256, typed=typed)
        with grpc.secure_channel(
            grpc_target(join_address(host, known.entry_port)),
            grpc.ssl_channel_credentials(ca),
            options=client_options(),
        ) as channel:
            stub: Any = enrollment_pb2_grpc.EnrollmentStub(channel)
            health = self._ask_health(stub)
            if self._task.renew and known.state == ACTIVE:
                self._store(ca, known, self._renewed(stub))
                return
            found = serving_port(host, port, known, health.session_port)
            if found != port:
                self._address = join_address(host, found)
                _send_event("port", typed=typed, address=self._address)
            self._enrol(stub, ca, known, fresh)

    def _enrol(self, stub: Any, ca: bytes, known: Enrollment, fresh: bool) -> None:
        if fresh:
            self._begin_anew()
        try:
            self._apply(stub, ca, known)
        except FleetmarkError as error:
            if error.kind not in _NEW_KEY or self._token is None:
                raise
            # The controller no longer accepts this key. With a new token the device enrolls as a
            # new device.
            self._begin_anew()
            self._apply(stub, ca, known)

    def _begin_anew(self) -> None:
        """Create a new key, and a new device id if the device had a key or an enrollment before."""
        if (self._folder / KEY).exists() or self._known is not None:
            identity.new_device_id(self._home)
        write_atomic(self._folder / KEY, make_key(), private=True)

    def _apply(self, stub: Any, ca: bytes, known: Enrollment) -> None:
        if not (self._folder / KEY).exists():
            write_atomic(self._folder / KEY, make_key(), private=True)
        key = read_key(self._folder / KEY)
        request = enrollment_pb2.EnrollRequest(
            token=self._task.token,
            csr=signing_request(key),
            device_id=identity.device_id(self._home),
            name=self._task.name,
        )
        with _rpc_errors(self._task.address):
            for event in stub.Enroll(request):
                if event.WhichOneof("body") == "certificate":
                    self._store(ca, known, event.certificate)
                    return
                write_atomic(self._folder / CA, ca, private=True)
                identity.save_enrollment(self._home, known)
                mine = key_fingerprint(key)
                _send_event("pending", name=event.pending.name, fingerprint=mine)
        raise FleetmarkError(
            ErrorKind.UNREACHABLE,
            "the controller ended the call before the enrollment was complete",
        )

    def _renewed(self, stub: Any) -> enrollment_pb2.Certificate:
        csr = signing_request(read_key(self._folder / KEY))
        with _rpc_errors(self._task.address):
            reply = stub.Renew(enrollment_pb2.RenewRequest(csr=csr), timeout=_CALL_S)
        assert isinstance(reply, enrollment_pb2.Certificate)
        return reply

    def _store(self, ca: bytes, known: Enrollment, granted: enrollment_pb2.Certificate) -> None:
        write_atomic(self._folder / CA, ca, private=True)
        write_atomic(self._folder / CERTIFICATE, granted.certificate, private=True)
        identity.save_enrollment(
            self._home,
            Enrollment(
                ACTIVE,
                self._address,
                granted.entry_port or known.entry_port,
                known.ca_sha256,
                known.catalog_sha256,
                granted.issued_unix_ns,
                granted.expires_unix_ns,
                granted.name,
            ),
        )
        _send_event("enrolled", name=granted.name, expires_ns=granted.expires_unix_ns)

    def _ask_health(self, stub: Any) -> enrollment_pb2.HealthReply:
        """Return the controller's health reply; send an event if the clocks differ."""
        with _rpc_errors(self._task.address):
            health = stub.Health(enrollment_pb2.HealthRequest(), timeout=_CALL_S)
        assert isinstance(health, enrollment_pb2.HealthReply)
        ahead_ns = time.time_ns() - health.controller_time_unix_ns
        if abs(ahead_ns) > _SKEW_NS:
            _send_event("skew", ahead_s=ahead_ns / 1e9)
        return health


def serving_port(host: str, port: int, known: Enrollment, named_port: int) -> int:
    """Return the port on which the controller serves enrolled devices.

    This is the given port if the right controller answers there: tunnels and port mappings may
    change it. Otherwise it is the port that the controller names, if it answers there. A device
    that enrolled through a wrong port would spend its token and never connect.

    Args:
        host: the controller's host.
        port: the given port.
        known: the enrollment with the expected controller.
        named_port: the port that the controller names; 0 if it does not name one.

    Raises:
        FleetmarkError: UNREACHABLE: the controller answers on neither port.
    """
    if port != known.entry_port or named_port in (0, port):
        try:
            trusted_ca(host, port, known.ca_sha256)
            return port
        except FleetmarkError as error:
            why = error.what
    else:
        why = f"port {port} is the controller's port for new devices"
    if named_port and named_port != port:
        try:
            trusted_ca(host, named_port, known.ca_sha256)
            return named_port
        except FleetmarkError:
            why = f"{why}; nor on port {named_port}, which the controller names"
    raise FleetmarkError(
        ErrorKind.UNREACHABLE,
        f"the controller accepts new devices on port {known.entry_port} of {host}, but enrolled"
        f" devices cannot reach it at {join_address(host, port)}: {why}",
        next_step="Correct the port of --controller, or open it in the firewall; the enrollment"
        " token is not spent",
    )


def read_key(path: Path) -> bytes:
    """Read the private key of this device.

    Raises:
        FleetmarkError: CONFIGURATION: the file does not hold a key. It is not replaced, because the
            controller would see another device.
        OSError: the file cannot be read.
    """
    key = read_regular(path)
    try:
        key_fingerprint(key)
    except ValueError as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            "the private key of this device is damaged",
            str(path),
            "Restore it; or remove it, and enroll as a new device with an enrollment token",
        ) from error
    return key


class _rpc_errors:
    """Context manager that converts gRPC errors to `FleetmarkError`."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, grpc.RpcError):
            raise from_rpc_error(error, self._address) from error


def _token(text: str) -> EnrollmentToken | None:
    if not text:
        return None
    try:
        return parse_token(text)
    except TokenError as error:
        raise FleetmarkError(
            ErrorKind.BAD_TOKEN, str(error), next_step="Copy the complete token"
        ) from error


def _send_event(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)  # noqa: T201


def _end_with_parent() -> None:
    # The parent keeps the other end open as long as it lives.
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
