"""The interface through which an agent calls its controller, and its error."""

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
    """Error of a failed call. If `temporary`, the same call may succeed later."""

    def __init__(self, text: str, *, temporary: bool, kind: ErrorKind | None = None) -> None:
        super().__init__(text)
        self.temporary = temporary
        self.kind = kind


class Stream(Protocol):
    """An open session stream."""

    async def send(self, message: AgentMessage) -> None:
        """Send a message. Raise `TransportError` if the stream is closed."""

    async def receive(self) -> ControllerMessage | None:
        """Return the next message of the controller, or None if it ended the stream.

        Raises:
            TransportError: the connection was lost.
        """

    async def close(self) -> None:
        """Close the stream from the agent's side."""


class Transport(Protocol):
    """Interface for calls to one controller. Each call may raise `TransportError`."""

    address: str

    async def connect(self) -> Stream:
        """Open a session stream; if no controller answers, a later call on the stream fails."""

    def download(self, sha256: str, offset: int, attempt: AttemptRef) -> AsyncIterator[bytes]:
        """Yield the bytes of a blob from `offset`, for an attempt."""

    async def upload(self, path: Path, sha256: str, size_bytes: int, device_id: str) -> None:
        """Upload a file as a blob; return when the controller has stored it durably."""

    async def append(self, message: Append) -> Appended:
        """Upload records of one attempt."""

    def renew(self) -> None:
        """Use the currently stored identity from the next call on."""

    async def close(self) -> None:
        """Close all connections."""
