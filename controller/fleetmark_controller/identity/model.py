"""Rules for tokens, certificates and callers. Pure: no clock, no store."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum

NS_PER_S = 1_000_000_000
MAX_TOKEN_LIFE_NS = 30 * 86_400 * NS_PER_S
MAX_TOKEN_USES = 10_000
MAX_OPERATOR_LIFE_NS = 5 * 366 * 86_400 * NS_PER_S
_SAID = {"revoked": "revoked", "used": "used up", "expired": "expired"}


class IdentityKind(Enum):
    """The kind of identity that a certificate names."""

    DEVICE = "device"
    OPERATOR = "person"


class Role(Enum):
    """The role of an operator. Each role includes the permissions of the roles before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Return whether this role has the permissions of `other`."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class IdentityState(Enum):
    """The state of an identity: PENDING becomes ACTIVE; any state becomes REVOKED or REMOVED."""

    PENDING = "pending"
    ACTIVE = "active"
    REVOKED = "revoked"
    REMOVED = "removed"


@dataclass(frozen=True)
class Caller:
    """The authenticated caller of a method."""

    kind: IdentityKind
    identity_id: str
    name: str
    role: Role | None = None

    @property
    def shown(self) -> str:
        """The caller as written in the audit log."""
        return f"{self.kind.value} {self.name}"


@dataclass(frozen=True)
class CallRule:
    """The callers that may use one method."""

    devices: bool = False
    operators: Role | None = None
    """The lowest role that may call; None: no operator."""
    anyone: bool = False
    """True if callers without a certificate are served, on the port for them."""

    def allows(self, caller: Caller) -> bool:
        """Return whether this caller may call the method."""
        if caller.kind is IdentityKind.DEVICE:
            return self.devices
        return (
            self.operators is not None
            and caller.role is not None
            and (caller.role.includes(self.operators))
        )


@dataclass(frozen=True)
class TokenFacts:
    """The stored facts of an enrollment token."""

    secret_sha256: str
    uses: int
    used: int
    expires_ns: int
    revoked: bool

    def state(self, now_ns: int) -> str:
        """Return the state: usable, used, expired or revoked."""
        if self.revoked:
            return "revoked"
        if self.used >= self.uses:
            return "used"
        return "usable" if now_ns < self.expires_ns else "expired"


def token_refusal(token: TokenFacts | None, secret_sha256: str, now_ns: int) -> str:
    """Return why a presented token is refused, or an empty string.

    A caller who does not know the secret learns nothing, not even whether the token exists.
    """
    if token is None or not hmac.compare_digest(token.secret_sha256, secret_sha256):
        return "the enrollment token is unknown"
    state = token.state(now_ns)
    return "" if state == "usable" else f"the enrollment token is {_SAID[state]}"


def renew_at_ns(issued_ns: int, expires_ns: int) -> int:
    """Return when a certificate is renewed: after two thirds of its lifetime."""
    return issued_ns + (expires_ns - issued_ns) * 2 // 3


@dataclass
class ByteBudget:
    """Limit of the bytes that each source uploads within a window; the caller passes the time."""

    most: int
    window_s: float = 86_400.0
    _spent: dict[str, tuple[float, int]] = field(default_factory=dict)

    def spend(self, source: str, size: int, now_s: float) -> bool:
        """Count `size` bytes; return False, and count nothing, if they exceed the limit."""
        began, spent = self._spent.get(source, (now_s, 0))
        if now_s - began >= self.window_s:
            began, spent = now_s, 0
        if spent + size > self.most:
            return False
        self._spent[source] = (began, spent + size)
        return True


@dataclass(frozen=True)
class UploadLimit:
    """The maximum number of files and bytes of one attempt."""

    files: int
    size_bytes: int


@dataclass
class _Pool:
    """The files and bytes that a source uploaded for its awaited attempts."""

    files: int = 0
    size_bytes: int = 0
    awaited: dict[Hashable, UploadLimit] = field(default_factory=dict)


@dataclass
class UploadQuota:
    """Limit of the files and bytes of each source: as many as its awaited attempts may have.

    The attempt to which a file belongs is unknown until its records arrive, so all attempts of a
    source share one pool. When an attempt is no longer awaited, its maximum leaves the pool. That
    is at least what it used, so a source that stays within the limit of each attempt is never
    refused, in whatever order files and evaluations arrive. At most `sources` sources are
    remembered.
    """

    sources: int = 10_000
    _pools: OrderedDict[str, _Pool] = field(default_factory=OrderedDict)

    def take(self, source: str, awaited: Mapping[Hashable, UploadLimit], size_bytes: int) -> bool:
        """Count a file; return False, and do not count it, if it exceeds the limit.

        Args:
            source: the source of the file.
            awaited: the attempts of this source whose files may arrive, each with its maximum.
            size_bytes: the size of the file.
        """
        pool = self._pools.setdefault(source, _Pool())
        self._pools.move_to_end(source)
        while len(self._pools) > self.sources:
            self._pools.popitem(last=False)
        for key in pool.awaited.keys() - awaited.keys():
            gone = pool.awaited.pop(key)
            pool.files = max(0, pool.files - gone.files)
            pool.size_bytes = max(0, pool.size_bytes - gone.size_bytes)
        pool.awaited.update(awaited)
        if pool.files + 1 > sum(most.files for most in awaited.values()):
            return False
        if pool.size_bytes + size_bytes > sum(most.size_bytes for most in awaited.values()):
            return False
        pool.files += 1
        pool.size_bytes += size_bytes
        return True

    def refund(self, source: str, size_bytes: int) -> None:
        """Subtract a file that was counted but did not arrive."""
        if pool := self._pools.get(source):
            pool.files = max(0, pool.files - 1)
            pool.size_bytes = max(0, pool.size_bytes - size_bytes)


@dataclass
class RateLimiter:
    """Limit of the refusals of each source within a window; a source at the limit is blocked.

    `most` refusals per `window_s`, by a clock that the caller reads. At most `sources` sources are
    remembered; the oldest is forgotten first.
    """

    most: int = 10
    window_s: float = 60.0
    sources: int = 10_000
    _seen: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)

    def blocked(self, source: str, now_s: float) -> bool:
        """Return whether this source has reached its limit of refusals."""
        began, count = self._seen.get(source, (now_s, 0))
        return count >= self.most and now_s - began < self.window_s

    def refused(self, source: str, now_s: float) -> int:
        """Record a refusal; return the number of refusals in this window."""
        began, count = self._seen.pop(source, (now_s, 0))
        if now_s - began >= self.window_s:
            began, count = now_s, 0
        self._seen[source] = (began, count + 1)
        while len(self._seen) > self.sources:
            self._seen.popitem(last=False)
        return count + 1


@dataclass(frozen=True)
class Identity:
    """A key and the device or operator that it identifies."""

    identity_id: str
    kind: IdentityKind
    name: str
    role: Role | None
    key_sha256: str
    state: IdentityState
    labels: dict[str, str]
    created_at: str
