"""OS file locks (flock) for the agent's home, the device and a supervisor.

A lock belongs to the open file description, not to the process. A child that inherits the
descriptor keeps the lock held, and the kernel releases it when the last holder closes it or exits.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from fleetmark_core.regular_file import check_regular

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def try_lock(path: Path) -> int | None:
    """Lock the file without waiting.

    Returns:
        The descriptor that holds the lock, or None if another process holds it.

    Raises:
        OSError: the file cannot be created or opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        check_regular(descriptor, path)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """
    try:
        descriptor = os.open(path, _READ)
    except FileNotFoundError:
        return False
    try:
        check_regular(descriptor, path)
        # A shared lock: two concurrent checks do not report each other as a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


async def until_free(path: Path) -> None:
    """Wait until no process holds the lock.

    The wait blocks in a dedicated thread, so nothing polls. If the caller is cancelled, the thread
    remains until the lock is released or the process ends.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """
    import asyncio
    import threading

    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: OSError | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def wait() -> None:
        error: OSError | None = None
        try:
            descriptor = os.open(path, _READ)
            try:
                check_regular(descriptor, path)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            pass
        except OSError as problem:
            error = problem
        # The loop may have been closed in the meantime.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=wait, name=f"wait-{path.name}", daemon=True).start()
    await done
