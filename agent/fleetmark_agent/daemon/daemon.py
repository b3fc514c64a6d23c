"""The imperative shell around the session: performs its actions and feeds it events."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_agent.daemon.attempt_loggers import AttemptLoggers
from fleetmark_agent.daemon.cert_renewal import Renewal
from fleetmark_agent.net.connection import ControllerConnection
from fleetmark_agent.net.transport import Transport, TransportError
from fleetmark_agent.runner.context import RunnerContext, clean_attempts
from fleetmark_agent.runner.log_tail import Tails
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.session import events as h
from fleetmark_agent.session.machine import AgentIdentity, Session
from fleetmark_agent.session.messages import (
    Append,
    AttemptRef,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Welcome,
)
from fleetmark_agent.software.capabilities import with_findings
from fleetmark_agent.software.models import DetectedSoftware
from fleetmark_agent.software.periodic import DetectionSchedule
from fleetmark_agent.state import ledger
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.file_locks import is_held, until_free
from fleetmark_agent.state.files import RealFiles, tree_bytes
from fleetmark_agent.state.spool import SpoolFull
from fleetmark_agent.state.status_file import write_status
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.log import get_logger
from fleetmark_core.records import Record
from fleetmark_core.regular_file import read_regular

if TYPE_CHECKING:
    from fleetmark_agent.runner.attempt import AttemptRunner

log = get_logger(__name__)

EXIT_OK = 0
EXIT_REFUSED = 4
EXIT_UNREACHABLE = 5
_LAST_WORDS_S = 2.0
_CANCEL_AGAIN_S = 0.5
_CLOCK_TOLERANCE_NS = 60 * 10**9
_NOTE_NS = 3600 * 10**9


class Daemon:
    """One agent from start to exit."""

    def __init__(
        self,
        identity: AgentIdentity,
        site: RunnerContext,
        files: RealFiles,
        transport: Transport,
        *,
        measured: Capabilities,
        known: DetectedSoftware | None,
    ) -> None:
        """Read the ledger; remove the data of attempts that are no longer held.

        Args:
            identity: the fields of every hello.
            site: the environment of attempts on this device.
            files: the durable files of the home.
            transport: the calls to the controller.
            measured: the device's capabilities without its software.
            known: the last software detection, if there is one.

        Raises:
            LedgerError: the ledger is damaged.
            OSError: the home cannot be read.
        """
        self.site = site
        self.settings = site.settings
        self.root = Path(site.settings.system_root)
        self.files = files
        self.transport = transport
        stored = ledger.load(files)
        held = {entry.key for entry in stored.entries}
        for key in site.spool.attempts():
            if key not in held:
                site.spool.forget(key)
        clean_attempts(site.attempts, {key.name for key in held})
        spooled = {key: site.spool.last_seq(key) for key in held}
        self.session = Session(
            identity, stored, device_free=not is_held(site.device_lock), spooled=spooled
        )
        self.link = ControllerConnection(
            transport, self.handle_event, self._check_admission, self._not_connected
        )
        self.tails = Tails(site.attempts, self.link.send)
        self.refusal: TransportError | None = None
        """The error with which the controller rejected this device; None if it did not."""
        self._renewal = Renewal(
            self.settings.home,
            transport.address,
            self.settings.name,
            self._certificate_renewed,
            lambda: self.clock_offset_ns or 0,
        )
        self.attempts: dict[LocalAttemptKey, AttemptRunner] = {}
        self._logs = AttemptLoggers(log)
        for entry in stored.entries:
            self._logs.add(entry.key, entry.order)
        self.forgotten = 0
        self.clock_offset_ns: int | None = None
        self._events: deque[h.Event] = deque()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._quit: asyncio.Future[int] | None = None
        self._tasks: set[asyncio.Future[Any]] = set()
        self._uploaded: set[tuple[LocalAttemptKey, str]] = set()
        self._upload_complaint = ""
        self._status = b""
        self._signals = 0
        self._on_terminal = has_terminal()
        self._noted_ns = 0
        self._measured = measured
        self.watch = DetectionSchedule(
            self.settings.home, self.settings.detect_interval_s, known, self._found
        )

    async def run(self) -> int:
        """Serve until asked to exit; return the exit code."""
        loop = asyncio.get_running_loop()
        self._quit = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_terminate)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_look)
        for action in self.session.start():
            self._perform(action)
        if self.session.device_free:
            await self._restore_device_settings()
        else:
            self._spawn(self._watch_device())
        self.watch.quiet(self.session.idle)
        self._spawn(self.watch.run())
        self._spawn(self._renewal.run())
        dialing = asyncio.ensure_future(self.link.run())
        if self.settings.once:
            self._spawn(self._give_up_in_time())
        try:
            code = await asyncio.shield(self._quit)
            await self.link.drain_and_close(_LAST_WORDS_S)
        finally:
            self.tails.stop_all()
            await end_tasks({dialing, *self._tasks})
            with suppress(Exception):
                await self.transport.close()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)
            self._write_status(connected=False)
        return code

    def handle_event(self, event: h.Event) -> None:
        """Let the session handle an event and perform the resulting actions, in order."""
        self._events.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._events:
                current = self._events.popleft()
                self._before_event(current)
                for action in self.session.handle(current, self._now()):
                    self._perform(action)
        finally:
            self._busy = False
        self._arm()
        self.watch.quiet(self.session.idle)
        self._write_status(connected=self.session.connected)
        if self.settings.once and self.forgotten and not self.session.held:
            self._spawn(self._leave_once())

    # --- actions ---

    def _perform(self, action: h.Action) -> None:
        if isinstance(action, h.Send):
            message = action.message
            if isinstance(message, Heartbeat):
                message = dataclasses.replace(
                    message, temperature_c=self.site.thermometer.celsius()
                )
            elif isinstance(message, Hello) and message.attempts:
                # Imported only when an attempt exists, because many agents idle for days.
                from fleetmark_agent.session.order_evidence import with_order_evidence

                message = with_order_evidence(message, self.session.held, self._lock_of)
            self.link.send(message)
        elif isinstance(action, h.Persist):
            self._persist(action)
        elif isinstance(action, h.StartJob):
            self._start(action)
        elif isinstance(action, h.StopJob):
            self._stop(action)
        elif isinstance(action, h.Upload):
            self._spawn(self._upload(action))
        elif isinstance(action, h.Acknowledge):
            self.site.spool.acknowledge(action.key, action.through_seq)
        elif isinstance(action, h.DeleteLargeFiles):
            Workspace(self.site.attempts, action.key).trim()
        elif isinstance(action, h.DeleteAttempt):
            self._forget(action.key)
        elif isinstance(action, h.SetLogTail):
            if action.wanted:
                self.tails.want(action.attempt)
            else:
                self.tails.stop(action.attempt.key)
        elif isinstance(action, h.Reconnect):
            self.link.drop(action.reason, action.after_s)
        elif self._quit is not None and not self._quit.done():
            self._quit.set_result(EXIT_OK)

    def _persist(self, action: h.Persist) -> None:
        try:
            ledger.save(self.files, action.ledger)
        except OSError as error:
            log.warning("ledger not stored", error=error)
            self._events.append(h.PersistFailed(action.number, error.strerror or str(error)))
        else:
            self._events.append(h.Persisted(action.number))

    def _start(self, action: h.StartJob) -> None:
        # Imported only when a job starts, because many agents idle for days.
        from fleetmark_agent.runner.attempt import AttemptRunner

        try:
            attempt = AttemptRunner(action.key, action.order, self.site, self._on_attempt_event)
        except FleetmarkError as error:
            self._on_attempt_event(
                h.JobRefused(action.key, str(error), retryable=False, cause=FailureCause.CONTROLLER)
            )
            return
        self._logs.add(action.key, action.order).info("attempt accepted")
        self.attempts[action.key] = attempt
        self._spawn(attempt.start())

    def _lock_of(self, key: LocalAttemptKey) -> bytes:
        return read_regular(Workspace(self.site.attempts, key).lock)

    def _stop(self, action: h.StopJob) -> None:
        attempt = self.attempts.get(action.key)
        key = action.key
        self._logs.get(key).info("attempt stop requested", reason=action.reason)
        if attempt is None:
            self._on_attempt_event(h.JobStopped(action.key))
        else:
            self._spawn(attempt.stop())

    def _forget(self, key: LocalAttemptKey) -> None:
        try:
            self.site.spool.forget(key)
        except OSError as error:
            # The attempt is no longer in the ledger, so the next start removes the file.
            self._logs.get(key).warning("spool not removed", error=error)
        Workspace(self.site.attempts, key).remove()
        self._uploaded = {item for item in self._uploaded if item[0] != key}
        self.forgotten += 1
        self._logs.get(key).info("attempt settled")
        self._logs.remove(key)

    async def _upload(self, action: h.Upload) -> None:
        key = action.key
        event: h.Event = h.UploadFailed(key, "the agent is shutting down")
        try:
            async with self.site.transfers:
                records: list[Record] = []
                if action.max_bytes:
                    records = self.site.spool.read(key, action.after_seq, action.max_bytes)
                for record in records:
                    if record.kind == "file":
                        await self._upload_file(key, record.payload)
                identity = self.session.identity
                ref = AttemptRef(identity.device_id, key.job_id, key.epoch, identity.boot_id)
                reply = await self.transport.append(Append(ref, tuple(records)))
            event = h.UploadDone(
                key, reply.through_seq, reply.credit_bytes, nothing_sent=not records
            )
            self._upload_complaint = ""
        except (TransportError, OSError) as error:
            event = h.UploadFailed(key, str(error))
            if str(error) != self._upload_complaint:
                self._upload_complaint = str(error)
                self._logs.get(key).warning("results not uploaded", error=error)
        finally:
            self.handle_event(event)

    async def _upload_file(self, key: LocalAttemptKey, payload: bytes) -> None:
        path, sha256, size_bytes = Workspace(self.site.attempts, key).file_of(payload)
        # After a crash between `Trim` and `Forget` the file is gone, because it was delivered.
        if (key, sha256) not in self._uploaded and path.exists():
            await self.transport.upload(path, sha256, size_bytes, self.site.device_id)
            self._uploaded.add((key, sha256))

    # --- events ---

    def _on_attempt_event(self, event: h.Event) -> None:
        if isinstance(event, (h.JobEnded, h.JobRefused, h.JobStopped)):
            self.attempts.pop(event.key, None)
        self.handle_event(event)

    def _before_event(self, event: h.Event) -> None:
        if isinstance(event, h.StreamClosed):
            self.tails.stop_all()
        if isinstance(event, h.MessageReceived) and isinstance(event.message, Welcome):
            controller_unix_ns = event.message.controller_time_unix_ns
            self._note_trust(controller_unix_ns, event.message.catalog_sha256)
            self.clock_offset_ns = (
                controller_unix_ns - time.time_ns() if controller_unix_ns else None
            )
            if abs(self.clock_offset_ns or 0) > _CLOCK_TOLERANCE_NS:
                log.warning(
                    "clock skew detected",
                    offset_s=round(-(self.clock_offset_ns or 0) / 1e9),
                    hint="The times in results are wrong by this offset, their order and durations"
                    " are right. Correct the clock",
                )
            self.watch.start()
        if isinstance(event, h.MessageReceived) and isinstance(event.message, HeartbeatAck):
            controller_unix_ns = event.message.controller_time_unix_ns
            if controller_unix_ns > self._noted_ns + _NOTE_NS:
                self._note_trust(controller_unix_ns, "")

    def _note_trust(self, controller_ns: int, catalog_sha256: str) -> None:
        """Store the controller's time, so that a device without a clock detects expiry."""
        self._noted_ns = controller_ns
        try:
            if self.site.trust.record_controller_time(controller_ns // 10**9, catalog_sha256):
                log.warning(
                    "catalog key pinned",
                    key=catalog_sha256[:16],
                    reason="the device was enrolled without a catalog key; from now on it accepts"
                    " only releases of this one",
                )
        except (OSError, FleetmarkError) as error:
            log.warning("controller time not stored", error=error)

    def _not_connected(self, error: TransportError) -> None:
        stranger = (
            error.kind is ErrorKind.UNAUTHENTICATED
            and bool(self.settings.token)
            and not self.link.was_connected
        )
        if error.kind is ErrorKind.REVOKED or stranger:
            self.refusal = error
            if self._quit is not None and not self._quit.done():
                self._quit.set_result(EXIT_REFUSED)
        elif error.kind in (ErrorKind.UNREACHABLE, ErrorKind.UNAUTHENTICATED):
            # A refused TLS handshake looks like an unreachable controller.
            self._renewal.ask()

    def _certificate_renewed(self) -> None:
        self.transport.renew()
        self.link.drop("the certificate was renewed; the agent reconnects with it", 0.0)

    def _check_admission(self) -> None:
        obstacle = ""
        try:
            self.site.spool.admit(tree_bytes(self.site.attempts))
        except SpoolFull as full:
            obstacle = str(full)
        self.handle_event(h.AdmissionChanged(obstacle))

    async def _watch_device(self) -> None:
        await until_free(self.site.device_lock)
        await self._restore_device_settings()
        self.handle_event(h.DeviceChanged(free=True))

    async def _restore_device_settings(self) -> None:
        """Undo settings that a killed agent left behind. No job runs on the device now."""
        if (self.settings.home / "tuning.json").exists():
            from fleetmark_agent.runner.conditioning.tuning import Tuning

            await asyncio.to_thread(Tuning(self.settings.home, self.root).undo)

    def _on_terminate(self) -> None:
        self._signals += 1
        if self._signals > 1 and self._quit is not None and not self._quit.done():
            self._quit.set_result(EXIT_OK)
            return
        log.info("shutdown requested", reason="signal")
        self.handle_event(h.ShutdownRequested("the agent received a signal to shut down"))

    def _asked_to_look(self) -> None:
        if self._on_terminal and not has_terminal():
            self._on_terminate()  # SIGHUP in its original meaning: the terminal was closed
            return
        log.info("software detection requested", reason="signal")
        self.watch.wake()

    def _found(self, detection: DetectedSoftware) -> None:
        found = with_findings(self._measured, detection.findings)
        self.site.capabilities = found
        self.handle_event(h.CapabilitiesFound(found))

    async def _leave_once(self) -> None:
        self.handle_event(h.ShutdownRequested("all jobs are done, as --once requires"))

    async def _give_up_in_time(self) -> None:
        await asyncio.sleep(self.settings.once_wait_s)
        if not self.link.was_connected and self._quit is not None and not self._quit.done():
            self._quit.set_result(EXIT_UNREACHABLE)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self.session.next_tick()
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(due, loop.time() + 0.001), self._tick)

    def _tick(self) -> None:
        for key, attempt in list(self.attempts.items()):
            progress = attempt.progress()
            if progress is not None:
                self._events.append(h.JobProgressed(key, progress))
        self.handle_event(h.TimerFired())

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- status ---

    def _write_status(self, *, connected: bool) -> None:
        """Write the file for `agent status`, only when its content changes."""
        values = {
            "pid": os.getpid(),
            "device_id": self.session.identity.device_id,
            "name": self.session.identity.name,
            "controller": self.transport.address,
            "connected": connected,
            "outage": "" if connected else self.link.outage,
            "attempts": [
                {
                    "job_id": held.key.job_id,
                    "epoch": held.key.epoch,
                    "state": held.state.value,
                    "reason": held.reason,
                }
                for held in self.session.held.values()
            ],
        }
        data = json.dumps(values, indent=1).encode() + b"\n"
        if data != self._status:
            self._status = data
            write_status(self.settings.home, data)


def has_terminal() -> bool:
    """Return whether the process has a terminal, which may be closed later."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


async def end_tasks(tasks: set[asyncio.Future[Any]]) -> None:
    """Cancel tasks until they have ended.

    One cancellation is not enough: before Python 3.12, `asyncio.wait_for` loses a cancellation that
    arrives at the moment when the awaited object completes.
    """
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=_CANCEL_AGAIN_S)
