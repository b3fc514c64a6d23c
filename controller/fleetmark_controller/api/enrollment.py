"""Service Enrollment: calls without a certificate. All their input is treated as hostile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fleetmark_controller import __version__
from fleetmark_controller.api import auth, error_handling, serde
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.identity.certificates import SigningRequest, read_request
from fleetmark_controller.identity.issuer import Issuer
from fleetmark_controller.identity.model import Identity, IdentityState, RateLimiter
from fleetmark_controller.operations import enrollment
from fleetmark_controller.operations.enrollment import Applicant
from fleetmark_core.clock import now_unix_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos import PROTOCOL_VERSION
from fleetmark_protos.token import EnrollmentToken, TokenError, parse_token
from fleetmark_protos.v1 import enrollment_pb2, enrollment_pb2_grpc

_RENEWALS = 10
"""Maximum per minute and key. An agent needs one renewal in weeks."""


class EnrollmentService(enrollment_pb2_grpc.EnrollmentServicer):
    """Service that enrolls devices and renews their certificates."""

    def __init__(self, engine: Engine, issuer: Issuer) -> None:
        """Serve one engine with one CA."""
        self._engine = engine
        self._issuer = issuer
        self._guesses = RateLimiter(engine.settings.refusals_per_minute)
        self._renewals = RateLimiter(_RENEWALS)

    @error_handling.unary
    async def Health(
        self, request: enrollment_pb2.HealthRequest, context: error_handling.Context
    ) -> enrollment_pb2.HealthReply:
        """Return version, protocol, time and session port, as proof that the controller works."""
        return enrollment_pb2.HealthReply(
            version=__version__,
            protocol=PROTOCOL_VERSION,
            controller_time_unix_ns=now_unix_ns(),
            session_port=self._issuer.session_port,
        )

    @error_handling.streaming
    async def Enroll(
        self, request: enrollment_pb2.EnrollRequest, context: error_handling.Context
    ) -> AsyncIterator[enrollment_pb2.EnrollEvent]:
        """Enroll a device; yield its certificate, at once or after its approval.

        A device that waits for approval first gets its name and fingerprint.
        """
        source = auth.current().address
        now_s = time.monotonic()
        if self._guesses.blocked(source, now_s):
            raise _too_many_error()
        try:
            presented, applicant, token = _read(request, source)
            identity = await self._engine.transactions.run_operation(
                lambda c, fx, now: enrollment.enrol(c, fx, now, applicant, token)
            )
        except FleetmarkError:
            self._guesses.refused(source, now_s)
            raise
        if identity.state is not IdentityState.ACTIVE:
            pending = enrollment_pb2.PendingApproval(
                name=identity.name, fingerprint=identity.key_sha256
            )
            yield enrollment_pb2.EnrollEvent(pending=pending)
            identity = await self._decision(identity)
        yield enrollment_pb2.EnrollEvent(certificate=self._certificate(presented, identity))

    @error_handling.unary
    async def Renew(
        self, request: enrollment_pb2.RenewRequest, context: error_handling.Context
    ) -> enrollment_pb2.Certificate:
        """Issue a new certificate for an active key, which the request's signature proves."""
        source = auth.current().address
        now_s = time.monotonic()
        if self._guesses.blocked(source, now_s):
            raise _too_many_error()
        try:
            presented = read_request(request.csr)
            if self._renewals.refused(presented.key_sha256, now_s) > _RENEWALS:
                raise _too_many_error()
            identity = await self._engine.transactions.run_operation(
                lambda c, fx, now: enrollment.renew(c, now, presented.key_sha256, source)
            )
        except FleetmarkError:
            self._guesses.refused(source, now_s)
            raise
        return self._certificate(presented, identity)

    async def _decision(self, identity: Identity) -> Identity:
        """Return the identity once an operator has approved it.

        Raises:
            FleetmarkError: REVOKED.
        """
        changed = asyncio.Event()
        stop = self._engine.registry.watch(identity.identity_id, changed.set)
        try:
            while True:
                current = self._engine.registry.get(identity.identity_id)
                if current is not None and current.state is IdentityState.ACTIVE:
                    return current
                if current is not None and current.state is not IdentityState.PENDING:
                    raise enrollment.revoked_error(current)
                await changed.wait()
                changed.clear()
        finally:
            stop()

    def _certificate(
        self, presented: SigningRequest, identity: Identity
    ) -> enrollment_pb2.Certificate:
        issued = self._issuer.device(presented, identity.identity_id, now_unix_ns())
        return enrollment_pb2.Certificate(
            certificate=issued.certificate,
            device_id=identity.identity_id,
            name=identity.name,
            issued_unix_ns=issued.issued_ns,
            expires_unix_ns=issued.expires_ns,
            entry_port=self._issuer.entry_port,
            session_port=self._issuer.session_port,
        )


def _read(
    request: enrollment_pb2.EnrollRequest, source: str
) -> tuple[SigningRequest, Applicant, EnrollmentToken | None]:
    token = None
    if request.token:
        try:
            token = parse_token(request.token)
        except TokenError as error:
            raise FleetmarkError(ErrorKind.BAD_TOKEN, str(error)) from error
    presented = read_request(request.csr)
    device_id = serde.device_id_from(request.device_id)
    name = serde.name_from(request.name)
    return presented, Applicant(presented.key_sha256, device_id, name, source), token


def _too_many_error() -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.TOO_MANY_ATTEMPTS,
        "too many refused attempts from this address",
        next_step="Wait a minute, and check the token",
    )
