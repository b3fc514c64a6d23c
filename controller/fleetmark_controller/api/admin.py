"""Service Admin: controller information, enrollment tokens, operators, the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fleetmark_controller import __version__
from fleetmark_controller.api import auth, error_handling
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.issuer import Issuer
from fleetmark_controller.identity.model import (
    MAX_OPERATOR_LIFE_NS,
    IdentityKind,
    IdentityState,
    Role,
)
from fleetmark_controller.operations import enrollment, operators
from fleetmark_controller.store.security import audit, identities, tokens
from fleetmark_core.clock import NS_PER_S, iso, now_unix_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_protos import PROTOCOL_VERSION
from fleetmark_protos.v1 import admin_pb2, admin_pb2_grpc

_TOKEN_LIFE_NS = 3600 * NS_PER_S
_OPERATOR_LIFE_NS = 365 * 86_400 * NS_PER_S
_MAX_LABELS = 64
_MAX_LABEL = 200
_BATCH = 500


class AdminService(admin_pb2_grpc.AdminServicer):
    """Service for administration and for information about the controller."""

    def __init__(self, engine: Engine, issuer: Issuer) -> None:
        """Serve one engine with one CA."""
        self._engine = engine
        self._issuer = issuer

    @error_handling.unary
    async def GetInfo(
        self, request: admin_pb2.GetInfoRequest, context: error_handling.Context
    ) -> admin_pb2.ControllerInfo:
        """Return id, version, protocol, start time and the number of connected devices."""
        return admin_pb2.ControllerInfo(
            controller_id=self._engine.controller_id,
            version=__version__,
            protocol=PROTOCOL_VERSION,
            started_at=iso(self._engine.started_ns),
            devices_online=self._engine.presence.online(),
            entry_port=self._issuer.entry_port,
        )

    @error_handling.unary
    async def CreateToken(
        self, request: admin_pb2.CreateTokenRequest, context: error_handling.Context
    ) -> admin_pb2.CreateTokenReply:
        """Create an enrollment token. Only this reply contains its text."""
        labels = _labels(dict(request.labels))
        who, token = auth.caller_label(), self._issuer.new_token()
        expires_ns = await self._engine.transactions.run_operation(
            lambda c, fx, now: enrollment.create_token(
                c,
                fx,
                now,
                who,
                token,
                life_ns=request.ttl_ns or _TOKEN_LIFE_NS,
                uses=request.uses or 1,
                labels=labels,
                approve=request.approve,
            )
        )
        return admin_pb2.CreateTokenReply(
            token_id=token.token_id, token=token.text(), expires_at=iso(expires_ns)
        )

    @error_handling.unary
    async def ListTokens(
        self, request: admin_pb2.ListTokensRequest, context: error_handling.Context
    ) -> admin_pb2.ListTokensReply:
        """Return the tokens without their secrets, newest first."""
        now_ns = now_unix_ns()
        return admin_pb2.ListTokensReply(
            tokens=[
                admin_pb2.Token(
                    token_id=token.token_id,
                    state=token.facts.state(now_ns),
                    uses=token.facts.uses,
                    used=token.facts.used,
                    approve=token.approve,
                    labels=token.labels,
                    created_at=token.created_at,
                    created_by=token.created_by,
                    expires_at=iso(token.facts.expires_ns),
                )
                for token in await self._engine.reader.run(tokens.list_all)
            ]
        )

    @error_handling.unary
    async def RevokeToken(
        self, request: admin_pb2.RevokeTokenRequest, context: error_handling.Context
    ) -> admin_pb2.RevokeTokenReply:
        """Revoke a token."""
        who = auth.caller_label()
        token_id = await self._engine.transactions.run_operation(
            lambda c, fx, now: enrollment.revoke_token(c, fx, now, who, request.token_id)
        )
        return admin_pb2.RevokeTokenReply(token_id=token_id)

    @error_handling.unary
    async def CreateOperator(
        self, request: admin_pb2.CreateOperatorRequest, context: error_handling.Context
    ) -> admin_pb2.CreateOperatorReply:
        """Register an operator, and issue a certificate for the operator's key."""
        try:
            role = Role(request.role)
        except ValueError as error:
            known = ", ".join(role.value for role in Role)
            raise FleetmarkError(
                ErrorKind.USAGE, f"unknown role {request.role[:40]!r}", next_step=f"Roles: {known}"
            ) from error
        life_ns = request.lifetime_ns or _OPERATOR_LIFE_NS
        if not 0 < life_ns <= MAX_OPERATOR_LIFE_NS:
            raise FleetmarkError(
                ErrorKind.USAGE,
                "a credential must be valid for more than 0 s and at most five years",
            )
        presented = certificates.read_request(request.csr)
        who, operator_id = auth.caller_label(), uuid7()
        await self._engine.transactions.run_operation(
            lambda c, fx, now: operators.create(
                c,
                fx,
                now,
                who,
                operator_id=operator_id,
                name=request.name,
                role=role,
                key_sha256=presented.key_sha256,
            )
        )
        issued = self._issuer.issue_for_operator(presented, operator_id, now_unix_ns(), life_ns)
        return admin_pb2.CreateOperatorReply(
            certificate=issued.certificate,
            ca=self._issuer.authority.ca.certificate,
            expires_at=iso(issued.expires_ns),
        )

    @error_handling.unary
    async def ListOperators(
        self, request: admin_pb2.ListOperatorsRequest, context: error_handling.Context
    ) -> admin_pb2.ListOperatorsReply:
        """Return the operators, by name."""
        found = await self._engine.reader.run(
            lambda c: identities.list_all(c, IdentityKind.OPERATOR)
        )
        return admin_pb2.ListOperatorsReply(
            operators=[
                admin_pb2.Operator(
                    name=operator.name,
                    role=operator.role.value if operator.role else "",
                    state=operator.state.value,
                    created_at=operator.created_at,
                    fingerprint=operator.key_sha256,
                )
                for operator in found
                if operator.state is not IdentityState.REMOVED
            ]
        )

    @error_handling.unary
    async def RevokeOperator(
        self, request: admin_pb2.RevokeOperatorRequest, context: error_handling.Context
    ) -> admin_pb2.RevokeOperatorReply:
        """Revoke the credentials of an operator."""
        who = auth.caller_label()
        operator = await self._engine.transactions.run_operation(
            lambda c, fx, now: operators.revoke(c, fx, now, who, request.name)
        )
        return admin_pb2.RevokeOperatorReply(name=operator.name)

    @error_handling.streaming
    async def ListAudit(
        self, request: admin_pb2.ListAuditRequest, context: error_handling.Context
    ) -> AsyncIterator[admin_pb2.AuditBatch]:
        """Yield the audit log and its head, both read in one transaction."""
        rows, head = await self._engine.reader.run(
            lambda c: (list(audit.rows(c, request.after_seq)), audit.head(c))
        )
        for start in range(0, len(rows), _BATCH):
            yield admin_pb2.AuditBatch(
                rows=[
                    admin_pb2.AuditRow(
                        seq=row.seq,
                        at=row.at,
                        actor=row.actor,
                        action=row.action,
                        subject=row.subject,
                        outcome=row.outcome,
                        detail=row.detail,
                        hash=row.hash,
                    )
                    for row in rows[start : start + _BATCH]
                ]
            )
        yield admin_pb2.AuditBatch(head_seq=head[0], head_hash=head[1])


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > _MAX_LABELS:
        raise FleetmarkError(ErrorKind.USAGE, f"too many labels: at most {_MAX_LABELS} are allowed")
    for key, value in labels.items():
        if not key or len(key) > _MAX_LABEL or len(value) > _MAX_LABEL:
            raise FleetmarkError(ErrorKind.USAGE, f"invalid label {key[:40]!r}")
        if not (key + value).isprintable():
            raise FleetmarkError(ErrorKind.USAGE, f"invalid label {key[:40]!r}")
    return labels
