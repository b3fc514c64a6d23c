"""What follows from what about tokens, certificates and callers. Pure: no clock, no store."""

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


class Kind(Enum):
    """What a certificate stands for."""

    DEVICE = "device"
    PERSON = "person"


class Role(Enum):
    """What a person may do; each may do all that those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether who has this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class State(Enum):
    """How much an identity counts. Only PENDING → ACTIVE, and anything → REVOKED → REMOVED."""

    PENDING = "pending"
    ACTIVE = "active"
    REVOKED = "revoked"
    REMOVED = "removed"


@dataclass(frozen=True)
class Caller:
    """Who makes a call, once that is established."""

    kind: Kind
    identity_id: str
    name: str
    role: Role | None = None

    @property
    def shown(self) -> str:
        """For the audit log."""
        return f"{self.kind.value} {self.name}"


@dataclass(frozen=True)
class Rule:
    """Who may call one method."""

    devices: bool = False
    people: Role | None = None
    """The least role; None: no person."""
    anyone: bool = False
    """Served to callers without a certificate, on the port for them."""

    def allows(self, caller: Caller) -> bool:
        """Whether this caller may."""
        if caller.kind is Kind.DEVICE:
            return self.devices
        return (
            self.people is not None
            and caller.role is not None
            and (caller.role.includes(self.people))
        )


@dataclass(frozen=True)
class TokenFacts:
    """What is stored of a join token."""

    secret_sha256: str
    uses: int
    used: int
    expires_ns: int
    revoked: bool

    def state(self, now_ns: int) -> str:
        """usable, used, expired or revoked."""
        if self.revoked:
            return "revoked"
        if self.used >= self.uses:
            return "used"
        return "usable" if now_ns < self.expires_ns else "expired"


def token_refusal(token: TokenFacts | None, secret_sha256: str, now_ns: int) -> str:
    """Why a presented token does not count; empty if it does.

    Who does not know the secret learns nothing: not even whether there is such a token.
    """
    if token is None or not hmac.compare_digest(token.secret_sha256, secret_sha256):
        return "the join token is unknown"
    state = token.state(now_ns)
    return "" if state == "usable" else f"the join token is {_SAID[state]}"


_SAID = {"revoked": "revoked", "used": "used up", "expired": "expired"}


def renew_at_ns(issued_ns: int, expires_ns: int) -> int:
    """When a certificate is renewed: after two thirds of its life."""
    return issued_ns + (expires_ns - issued_ns) * 2 // 3


@dataclass
class Budget:
    """How many bytes each source hands in within a window, by a clock that the caller reads."""

    most: int
    window_s: float = 86_400.0
    _spent: dict[str, tuple[float, int]] = field(default_factory=dict)

    def spend(self, source: str, size: int, now_s: float) -> bool:
        """Count `size` bytes; False, and nothing is counted, if they are too many."""
        began, spent = self._spent.get(source, (now_s, 0))
        if now_s - began >= self.window_s:
            began, spent = now_s, 0
        if spent + size > self.most:
            return False
        self._spent[source] = (began, spent + size)
        return True


@dataclass(frozen=True)
class Most:
    """The most files and bytes that one attempt may have."""

    files: int
    size_bytes: int


@dataclass
class _Pool:
    """What a source has handed in for the attempts that are awaited of it."""

    files: int = 0
    size_bytes: int = 0
    awaited: dict[Hashable, Most] = field(default_factory=dict)


@dataclass
class Allowance:
    """How many files and bytes a source may hand in: as many as its awaited attempts may have.

    For which of them a file is cannot be known before its records come, so all share one pool. An
    attempt that is no longer awaited takes the most that it could have had out of the pool: that is
    at least what it had, so whoever hands in no more than each attempt may have is never refused,
    in whatever order files and judgements come. Remembers `sources` of them.
    """

    sources: int = 10_000
    _pools: OrderedDict[str, _Pool] = field(default_factory=OrderedDict)

    def take(self, source: str, awaited: Mapping[Hashable, Most], size_bytes: int) -> bool:
        """Count a file; False, and it is not counted, if it is more than those attempts may have.

        `awaited`: the attempts of this source whose files may come, each with its most.
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

    def give_back(self, source: str, size_bytes: int) -> None:
        """What was counted has not come."""
        if pool := self._pools.get(source):
            pool.files = max(0, pool.files - 1)
            pool.size_bytes = max(0, pool.size_bytes - size_bytes)


@dataclass
class Limiter:
    """Counts refusals of each source within a window; who has too many is not even heard.

    `most` a `window_s`, by a clock that the caller reads. Remembers at most `sources` of them:
    the oldest is forgotten first.
    """

    most: int = 10
    window_s: float = 60.0
    sources: int = 10_000
    _seen: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)

    def blocked(self, source: str, now_s: float) -> bool:
        """Whether this source has used up its refusals."""
        began, count = self._seen.get(source, (now_s, 0))
        return count >= self.most and now_s - began < self.window_s

    def refused(self, source: str, now_s: float) -> int:
        """Note a refusal; returns how many there were in this window."""
        began, count = self._seen.pop(source, (now_s, 0))
        if now_s - began >= self.window_s:
            began, count = now_s, 0
        self._seen[source] = (began, count + 1)
        while len(self._seen) > self.sources:
            self._seen.popitem(last=False)
        return count + 1


@dataclass(frozen=True)
class Identity:
    """One key, and for whom it stands."""

    identity_id: str
    kind: Kind
    name: str
    role: Role | None
    key_sha256: str
    state: State
    labels: dict[str, str]
    created_at: str
