"""How an agent reaches its controller: the interface, and what it raises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from fleetmark_agent.session.messages import (
    AgentMessage,
    Append,
    Appended,
    AttemptRef,
    ControllerMessage,
)
from fleetmark_core.errors import ErrorKind


class TransportError(Exception):
    """A call did not come to its end. `temporary`: the same call may succeed later."""

    def __init__(self, text: str, *, temporary: bool, kind: ErrorKind | None = None) -> None:
        super().__init__(text)
        self.temporary = temporary
        self.kind = kind


class Stream(Protocol):
    """One open session stream."""

    async def send(self, message: AgentMessage) -> None:
        """Say something. Raises `TransportError` when the stream is gone."""

    async def receive(self) -> ControllerMessage | None:
        """What the controller says next; None when it ended the stream.

        Raises:
            TransportError: the stream is gone.
        """

    async def close(self) -> None:
        """End the stream from our side."""


class Transport(Protocol):
    """Calls to one controller. Each may raise `TransportError`."""

    address: str

    async def connect(self) -> Stream:
        """Open a session stream; it fails later if nobody answers."""

    def download(self, sha256: str, offset: int, attempt: AttemptRef) -> AsyncIterator[bytes]:
        """A blob's bytes from `offset`, for an attempt."""

    async def upload(self, path: Path, sha256: str, size_bytes: int, device_id: str) -> None:
        """Hand over a file as a blob; returns when the controller has it for good."""

    async def append(self, message: Append) -> Appended:
        """Hand over records."""

    def renew(self) -> None:
        """Show the identity as it is stored now, from the next call on."""

    async def close(self) -> None:
        """Give everything back."""
