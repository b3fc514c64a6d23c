"""OS locks on files (flock): of the agent's home, of the device, of a supervisor.

A lock belongs to the open file, not to the process: a child that inherits the descriptor keeps it
held, and the system frees it when the last holder is gone, however it ended.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from fleetmark_core.regular_file import check_regular

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def try_lock(path: Path) -> int | None:
    """Lock the file; returns its descriptor, or None if somebody holds it.

    Raises:
        OSError: the file cannot be made or opened.
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
    """Return whether a process holds the lock now.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """
    try:
        descriptor = os.open(path, _READ)
    except FileNotFoundError:
        return False
    try:
        check_regular(descriptor, path)
        # Shared: two who only look don't see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


async def until_free(path: Path) -> None:
    """Return when nobody holds the lock. Waits in a thread of its own: nothing polls.

    A cancelled wait leaves its thread behind until the lock is free or the process ends.
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
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=wait, name=f"wait-{path.name}", daemon=True).start()
    await done
