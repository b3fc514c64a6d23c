"""Run an order from a bundle file on a device without network and write a results file."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent import AGENT_VERSION
from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.errors import from_os_error
from fleetmark_agent.fingerprint import measure
from fleetmark_agent.net.transport import TransportError
from fleetmark_agent.runner.attempt import AttemptRunner
from fleetmark_agent.runner.context import RunnerContext
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.session import events as h
from fleetmark_agent.session.messages import AttemptRef
from fleetmark_agent.software.capabilities import with_findings
from fleetmark_agent.software.client import detect_in_child
from fleetmark_agent.state import identity
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.file_locks import is_held, try_lock
from fleetmark_agent.state.files import RealFiles
from fleetmark_agent.state.ledger import BUNDLES_NAME
from fleetmark_agent.state.spool import Spool, SpoolFull
from fleetmark_agent.state.trust_store import TrustStore
from fleetmark_cli.sanitize import clean_line
from fleetmark_core.atomic_file import replacement, write_atomic
from fleetmark_core.bundle_file import (
    BUNDLE,
    RESULTS,
    BundleFile,
    DeviceIdentityDocument,
    DeviceSignedDocument,
    ResultsDocument,
    blob_name,
    open_bundle,
    write_files,
)
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.device_keys import (
    key_fingerprint,
    make_key,
    pem_sha256,
    sign_document,
    signing_request,
)
from fleetmark_core.digest import canonical_json, is_sha256, sha256_hex
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_core.log import get_logger
from fleetmark_core.order import Order, parse_order
from fleetmark_core.records import Record
from fleetmark_core.regular_file import read_regular
from fleetmark_core.serde import to_plain

_DONE = BUNDLES_NAME
_MAX_DONE_BYTES = 64 << 20
_READ_BYTES = 1 << 20
log = get_logger(__name__)
_DAMAGED = (
    ErrorKind.BAD_DOCUMENT,
    ErrorKind.DIGEST_MISMATCH,
    ErrorKind.UNSIGNED,
    ErrorKind.FOREIGN_KEY,
    ErrorKind.BAD_SIGNATURE,
)
"""Error kinds that mean that the contents of a bundle file are damaged or not trusted."""


def write_description(settings: AgentSettings, out: Path) -> str:
    """Write what this device is into `out`; return the fingerprint of its key.

    The settings must hold the device's name.

    Raises:
        FleetmarkError: the home or `out` cannot be used.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        document = DeviceIdentityDocument(
            1, identity.device_id(settings.home), settings.name, AGENT_VERSION, _facts(settings)
        )
        key = _key(settings.home)
        write_atomic(out, _signed(canonical_json(to_plain(document)), key))
    except OSError as error:
        raise from_os_error(error, str(error.filename or out)) from error
    return key_fingerprint(key)


def run_from(settings: AgentSettings, file: Path, out: Path, pin: str) -> None:
    """Run the order in `file` and write its results to `out`.

    Args:
        settings: the settings of the agent.
        file: the bundle file.
        out: the results file to write.
        pin: the value of `--trust`, or empty: digests of the CA certificate and the catalog key.

    Raises:
        FleetmarkError: the file, the home or `out` cannot be used; the order was refused or the job
            failed: in these two cases `out` is written and contains the reason.
    """
    lock = _take(settings.home)
    try:
        for line in identity.protect_identity(settings.home):
            log.warning("access restricted", reason=line)
        if out.is_dir() or not out.absolute().parent.is_dir():
            raise FleetmarkError(ErrorKind.USAGE, "cannot be written there", str(out))
        with open_bundle(file, BUNDLE) as carried:
            _run(settings, carried, out, pin)
    except FleetmarkError as error:
        if error.kind not in _DAMAGED:
            raise
        raise FleetmarkError(ErrorKind.BAD_ARCHIVE, error.what, error.where, error.next_step) from (
            error
        )
    except OSError as error:
        raise from_os_error(error, str(error.filename or file)) from error
    finally:
        os.close(lock)


def _run(settings: AgentSettings, carried: BundleFile, out: Path, pin: str) -> None:
    home = settings.home
    bundle = _bundle(carried)
    order = parse_order(bundle.order)
    own_id = identity.device_id(home)
    if order.device_id != own_id:
        raise FleetmarkError(
            ErrorKind.FENCED,
            f"the order is for device {order.device_id}, this is {own_id}",
            next_step="Export the job for this device",
        )
    _trust(TrustStore(home), bundle, pin)
    key = LocalAttemptKey(order.job_id, order.epoch)
    if not key.is_valid():
        raise carried.invalid_error("its order names no job")
    boot_id = uuid7()
    workspace = Workspace(home / "attempts", key)
    spool = Spool(RealFiles(home), settings.spool_limit_bytes)
    before = _accept(home, order, workspace, spool)
    site = RunnerContext(
        settings=settings,
        device_id=own_id,
        boot_id=boot_id,
        capabilities=_facts(settings),
        spool=spool,
        download=_Source(carried),
        clock=lambda: {"unix_ns": time.time_ns(), "controller_offset_ns": None},
        transfers=asyncio.Lock(),
    )
    ended = asyncio.run(_until_ended(key, bundle.order, site))
    results = _results(settings, order, bundle, boot_id, spool, ended)
    places = {}
    for record in results.records:
        if record.kind == "file":
            path, sha256, _ = workspace.file_of(record.payload)
            places[blob_name(sha256)] = path
    _write(out, _signed(results.canonical(), _key(home)), places)
    spool.forget(key)
    workspace.remove()
    if isinstance(ended, h.JobRefused):
        # A refused order must not block a later bundle with the same job and epoch.
        write_atomic(home / _DONE, before)
        raise FleetmarkError(ErrorKind.FORBIDDEN, ended.reason, f"job {order.job_id}")
    final = json.loads(results.records[-1].payload)
    if final["outcome"] != "completed":
        raise FleetmarkError(ErrorKind.JOB_FAILED, str(final["reason"]), f"job {order.job_id}")
    sys.stdout.write(clean_line(f"job {order.job_id}: done, results in {out}") + "\n")


@dataclass(frozen=True)
class _Bundle:
    order: bytes
    ca: bytes
    catalog_sha256: str
    blobs: dict[str, int]


def _bundle(carried: BundleFile) -> _Bundle:
    values = carried.table(BUNDLE)
    try:
        blobs = {str(sha256): int(size) for sha256, size in values["blobs"]}
        found = _Bundle(
            values["order"].encode(), values["ca"].encode(), str(values["catalog_sha256"]), blobs
        )
        pem_sha256(found.ca)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise carried.invalid_error(f"{BUNDLE} is not valid: {error}") from error
    if set(blobs) != set(carried.blobs):
        raise carried.invalid_error("it does not hold the files that it names")
    return found


def _trust(store: TrustStore, bundle: _Bundle, pin: str) -> None:
    """Verify that the bundle belongs to the controller that this device trusts.

    A bundle alone does not establish trust: the device must be enrolled or `pin` must be given.

    Raises:
        FleetmarkError: UNTRUSTED: the device trusts no controller, or another one; USAGE: `pin` is
            malformed.
    """
    ca_sha256 = pem_sha256(bundle.ca)
    if pin:
        ca, _, catalog = pin.partition(".")
        if not (is_sha256(ca) and is_sha256(catalog)):
            raise FleetmarkError(
                ErrorKind.USAGE, "the pin is malformed", "--trust", "Copy the whole pin"
            )
        if ca != ca_sha256:
            raise FleetmarkError(
                ErrorKind.UNTRUSTED,
                f"the bundle is of controller {ca_sha256[:16]}…, not {ca[:16]}…",
                "--trust",
            )
        store.pin(bundle.ca, ca, catalog)
    trust = store.load()
    if not trust.catalog_sha256 or not store.ca_file.exists():
        raise FleetmarkError(
            ErrorKind.UNTRUSTED,
            "this device trusts no controller yet",
            next_step="Give --trust with the pin that `controller bundle export` printed",
        )
    if trust.ca_sha256 != ca_sha256:
        raise FleetmarkError(
            ErrorKind.UNTRUSTED,
            f"the bundle is of controller {ca_sha256[:16]}…, this device belongs to "
            f"{trust.ca_sha256[:16]}…",
        )


def _accept(home: Path, order: Order, workspace: Workspace, spool: Spool) -> bytes:
    """Record durably that the order is being executed, so that no order is executed twice.

    Returns:
        The previous bytes of the record file.

    Raises:
        FleetmarkError: the order was executed before; the device is busy; the spool is full; the
            record file is damaged.
    """
    path = home / _DONE
    try:
        before = read_regular(path, _MAX_DONE_BYTES)
    except FileNotFoundError:
        before = b"{}\n"
    try:
        done = parse_json(before)
        if not isinstance(done, dict):
            raise ValueError("not a table")
    except ValueError as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            "it is damaged",
            str(path),
            "Remove it; orders that were followed before could then be followed again",
        ) from error
    key = workspace.key
    unfinished = workspace.root.exists() or spool.last_seq(key)
    if done.get(order.job_id, 0) >= order.epoch and not unfinished:
        raise FleetmarkError(
            ErrorKind.FENCED,
            f"job {order.job_id} was run here before, with epoch {done[order.job_id]}",
            next_step="Import its results, or retry the job on the controller",
        )
    if is_held(home / "device.lock") and not unfinished:
        raise FleetmarkError(ErrorKind.HOME_IN_USE, "a job still runs on this device", str(home))
    if not unfinished:
        try:
            spool.admit()
        except SpoolFull as full:
            raise FleetmarkError(ErrorKind.DISK_FULL, str(full), str(home)) from full
    write_atomic(path, json.dumps({**done, order.job_id: order.epoch}, indent=1).encode() + b"\n")
    return before


class _Source:
    """Blob source for an attempt that reads from a bundle file instead of the network."""

    def __init__(self, carried: BundleFile) -> None:
        self._carried = carried

    async def __call__(self, sha256: str, offset: int, attempt: AttemptRef) -> AsyncIterator[bytes]:
        del attempt
        try:
            for data in self._carried.chunks(sha256, offset):
                yield data
        except FleetmarkError as error:
            raise TransportError(error.what, temporary=False) from error


async def _until_ended(key: LocalAttemptKey, order: bytes, site: RunnerContext) -> h.Event:
    ended: asyncio.Future[h.Event] = asyncio.get_running_loop().create_future()

    def on_event(event: h.Event) -> None:
        if isinstance(event, h.JobProgressed):
            sys.stderr.write(clean_line(f"job {key.job_id}: {event.progress.phase}") + "\n")
        elif isinstance(event, (h.JobEnded, h.JobRefused, h.JobStopped)):
            ended.set_result(event)

    attempt = AttemptRunner(key, order, site, on_event)
    running = attempt.start()
    try:
        event = await ended
        await running
    except asyncio.CancelledError:
        await attempt.stop()
        raise
    return event


def _results(
    settings: AgentSettings,
    order: Order,
    bundle: _Bundle,
    boot_id: str,
    spool: Spool,
    ended: h.Event,
) -> ResultsDocument:
    key = LocalAttemptKey(order.job_id, order.epoch)
    if isinstance(ended, h.JobStopped):
        raise FleetmarkError(
            ErrorKind.INTERNAL, ended.reason or "the job was stopped", f"job {order.job_id}"
        )
    records: list[Record] = []
    last = spool.last_seq(key)
    while len(records) < last:
        records += spool.read(key, len(records), _READ_BYTES)
    blobs = {}
    for record in records:
        if record.kind == "file":
            _, sha256, size_bytes = Workspace(settings.home / "attempts", key).file_of(
                record.payload
            )
            blobs[sha256] = size_bytes
    return ResultsDocument(
        order.device_id,
        order.job_id,
        order.epoch,
        boot_id,
        sha256_hex(bundle.order),
        tuple(records),
        tuple(sorted(blobs.items())),
        ended.reason if isinstance(ended, h.JobRefused) else "",
    )


def _write(out: Path, document: bytes, places: dict[str, Path]) -> None:
    with replacement(out) as scratch:
        write_files(scratch, {RESULTS: document}, places)


def _signed(data: bytes, key: bytes) -> bytes:
    return DeviceSignedDocument(data, signing_request(key), sign_document(key, data)).canonical()


def _key(home: Path) -> bytes:
    path = identity.folder(home) / identity.KEY
    if not path.exists():
        write_atomic(path, make_key(), private=True)
    return read_regular(path)


def _facts(settings: AgentSettings) -> Capabilities:
    return with_findings(
        measure(home=settings.home, system_root=Path(settings.system_root)),
        detect_in_child().findings,
    )


def _take(home: Path) -> int:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = try_lock(home / "agent.lock")
    except OSError as error:
        raise from_os_error(error, str(home)) from error
    if lock is None:
        raise FleetmarkError(
            ErrorKind.HOME_IN_USE,
            "an agent runs with this home",
            str(home),
            "End it first, or choose another --home",
        )
    return lock
