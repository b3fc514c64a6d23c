"""Verification of an order, its release and its lockfile before any of the bundle is used."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

from fleetmark_agent.cache.blob_cache import Cache, Download
from fleetmark_agent.errors import Refusal
from fleetmark_agent.state.trust_store import Trust, TrustStore
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.lockfile import BlobRef
from fleetmark_core.order import Order, is_signed
from fleetmark_core.release import MAX_RELEASE_BYTES

HELPER = (sys.executable, "-I", "-m", "fleetmark_agent.helpers.verify_order")
_TIME_LIMIT_S = 120.0
_AGAIN = (ErrorKind.UNSIGNED,)
"""Checks that the next order may pass: an unsigned order predates the first release."""
_CHECK_NAMES = {ErrorKind.ROLLED_BACK: "older than a known release"}
"""Names of checks in a refusal that differ from the names of their error kinds."""


async def verify_order(
    data: bytes, order: Order, store: TrustStore, cache: Cache, download: Download
) -> dict[str, Any]:
    """Verify an order with its release and lockfile, which are downloaded if they are missing.

    The release serial is stored durably before this returns, so that an older release is never
    accepted again.

    Args:
        data: the bytes of the order as received.
        order: the parsed order.
        store: the trust anchors of the device.
        cache: the blob cache.
        download: the source of missing blobs.

    Returns:
        The verification facts for the run's provenance.

    Raises:
        Refusal: the order must not be executed; blobs downloaded for it are removed.
    """
    try:
        trust = store.load()
    except (FleetmarkError, OSError) as error:
        raise Refusal(f"untrusted: {error}", retryable=False) from error
    if not trust.catalog_sha256:
        # The device enrolled before signatures existed, and its controller has no catalog key yet.
        return {"signed": False}
    if not is_signed(data):
        raise untrusted_order_error(ErrorKind.UNSIGNED, "the order is not signed")
    if not order.release_sha256:
        raise untrusted_order_error(ErrorKind.UNSIGNED, "the order names no release")
    if not 0 < order.release_bytes <= MAX_RELEASE_BYTES:
        raise untrusted_order_error(
            ErrorKind.BAD_DOCUMENT,
            f"its release has {order.release_bytes} bytes, expected 1 to {MAX_RELEASE_BYTES}",
        )
    release = BlobRef("release", order.release_sha256, order.release_bytes)
    lock = BlobRef("lock", order.lock_sha256, order.lock_bytes)
    lacking = cache.lacking([release, lock])
    if lacking:
        cache.make_room(sum(blob.size_bytes for blob in lacking), "the release of the job")
    try:
        for blob in (release, lock):
            await cache.fetch(blob, download)
            await cache.verified(blob)
        answer = await _ask(trust, data, store, cache, order)
        if "fault" in answer:
            raise untrusted_order_error(ErrorKind[answer["fault"]], str(answer["what"]))
        store.record_verified_release(
            answer["catalog_sha256"], answer["serial"], answer["release_sha256"]
        )
    except OSError as error:
        raise Refusal(f"untrusted: {error}", retryable=False) from error
    except Refusal:
        for blob in lacking:
            cache.blobs.remove(blob.sha256)
            cache.blobs.partial(blob.sha256).unlink(missing_ok=True)
        raise
    return {"signed": True, **answer}


def untrusted_order_error(kind: ErrorKind, what: str) -> Refusal:
    """Return the refusal of an untrusted order; it names the failed check."""
    name = _CHECK_NAMES.get(kind, kind.name.lower().replace("_", " "))
    return Refusal(
        f"untrusted ({name}): {what}",
        retryable=kind in _AGAIN,
        cause=FailureCause.CONTROLLER,
    )


async def _ask(
    trust: Trust, data: bytes, store: TrustStore, cache: Cache, order: Order
) -> dict[str, Any]:
    values = asdict(trust)
    task = {
        **{name: values[name] for name in ("catalog_sha256", "serial", "release_sha256")},
        "ca": str(store.ca_file),
        "now_unix_s": trust.now_unix_s(),
        "order": data.decode(errors="replace"),
        "release": str(cache.blobs.path(order.release_sha256)),
        "lock": str(cache.blobs.path(order.lock_sha256)),
    }
    pipe = asyncio.subprocess.PIPE
    helper = await asyncio.create_subprocess_exec(*HELPER, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        out, errors = await asyncio.wait_for(
            helper.communicate(json.dumps(task).encode()), _TIME_LIMIT_S
        )
        answer = json.loads(out) if helper.returncode == 0 else None
    except asyncio.TimeoutError:
        answer, errors = None, b"time limit exceeded"
    except ValueError:
        answer = None
    finally:
        if helper.returncode is None:
            helper.kill()
            await helper.wait()
    if not isinstance(answer, dict):
        # Without a verification the order is not trusted.
        lines = errors.decode(errors="replace").strip().splitlines()
        what = lines[-1] if lines else "no answer"
        raise Refusal(f"untrusted: the verification failed: {what}", retryable=True)
    return answer
