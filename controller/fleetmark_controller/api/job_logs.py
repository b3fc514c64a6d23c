"""Call Jobs.StreamLogs: the stored or live output of a job."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.engine.log_tail import LogSubscriber
from fleetmark_controller.lifecycle.states import ATTEMPT_ON_DEVICE, AttemptState
from fleetmark_controller.store.jobs import attempts
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.results import records
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular
from fleetmark_protos.v1 import common_pb2

_FEATURE = "logs.v1"
_ANSWER_S = 5.0
_MOST_BYTES = 4 * 1024**3
_STREAMS = ("stdout", "stderr")


@dataclass(frozen=True)
class _Newest:
    """The newest attempt of a job, and the blobs of its output, once they are stored."""

    key: AttemptKey
    state: AttemptState
    blobs: dict[str, str]


async def chunks(engine: Engine, job_id: str, follow: bool) -> AsyncIterator[common_pb2.LogChunk]:
    """Yield the output of a job's newest attempt; with `follow` until the attempt ends.

    Raises:
        FleetmarkError: NO_LOGS.
    """
    newest = await engine.reader.run(lambda c: _newest(c, job_id))
    if newest is None:
        raise FleetmarkError(
            ErrorKind.NO_LOGS,
            f"job {job_id} has not started",
            next_step="See the reason with `controller jobs show`",
        )
    if newest.state not in ATTEMPT_ON_DEVICE:
        async for chunk in _stored(engine, newest):
            yield chunk
        return
    if _FEATURE not in engine.streams.features.get(newest.key.device_id, frozenset()):
        raise FleetmarkError(
            ErrorKind.NO_LOGS,
            "its device is not connected, or its agent is too old to send output of a running job",
            next_step="The logs are available after the job has ended",
        )
    with engine.streams.logs.reading(newest.key) as reader:
        sent: dict[str, int] = {}
        async for chunk in _following(reader, sent) if follow else _first(reader):
            yield chunk
    if follow:
        # If the job ended quickly, its result may have arrived before its last lines.
        ended = await engine.reader.run(lambda c: _newest(c, job_id))
        if ended is not None and ended.key == newest.key and ended.blobs:
            async for chunk in _stored(engine, ended, sent):
                yield chunk


async def _following(
    reader: LogSubscriber, sent: dict[str, int]
) -> AsyncIterator[common_pb2.LogChunk]:
    """Yield live output until its end; record in `sent` how far each stream was sent."""
    while True:
        chunk = await reader.get()
        sent[chunk.stream] = max(sent.get(chunk.stream, 0), chunk.until)
        if chunk.data:
            yield common_pb2.LogChunk(stream=chunk.stream, data=chunk.data)
        if chunk.end:
            return


async def _first(reader: LogSubscriber) -> AsyncIterator[common_pb2.LogChunk]:
    """Yield one answer for each stream."""
    waited_for = set(_STREAMS)
    while waited_for:
        try:
            chunk = await asyncio.wait_for(reader.get(), _ANSWER_S)
        except asyncio.TimeoutError as error:
            raise FleetmarkError(
                ErrorKind.NO_LOGS, f"its device did not answer within {_ANSWER_S:g} s"
            ) from error
        if chunk.data:
            yield common_pb2.LogChunk(stream=chunk.stream, data=chunk.data)
        if chunk.end:
            return
        waited_for.discard(chunk.stream)


async def _stored(
    engine: Engine, newest: _Newest, sent: Mapping[str, int] = MappingProxyType({})
) -> AsyncIterator[common_pb2.LogChunk]:
    """Yield the stored output, without the part that was already `sent`."""
    if not newest.blobs:
        raise FleetmarkError(
            ErrorKind.NO_LOGS,
            f"the last attempt ended as {newest.state.value} and left no output",
            next_step="See the reason with `controller jobs show`",
        )
    for stream, digest in newest.blobs.items():
        data = await asyncio.to_thread(read_regular, engine.blobs.path(digest), _MOST_BYTES)
        for start in range(sent.get(stream, 0), len(data), 64 * 1024):
            yield common_pb2.LogChunk(stream=stream, data=data[start : start + 64 * 1024])


def _newest(connection: sqlite3.Connection, job_id: str) -> _Newest | None:
    found = attempts.newest_of(connection, job_id)
    if found is None:
        return None
    key = found.key
    blobs: dict[str, str] = {}
    for record in records.list_for_attempt(connection, key):
        if record.kind == "file":
            values = json.loads(record.payload)
            if values.get("role") in _STREAMS:
                blobs[values["role"]] = values["sha256"]
    return _Newest(key, found.state, blobs)
