"""The supervisor: it runs one job and outlives its agent. Standard library only.

`python -I -S -B supervisor.py SPEC FOLDER…`: the folders contain Fleetmark's packages.

The agent hands over two locked files. The job inherits the device's lock, which stays held while
any process of the job is alive. The attempt's own lock is held by this process alone, so that its
release tells the agent that the supervisor ended. The sequence is: write a mark that the attempt
was started; append a line to the device's trace; start the job in its own process group; wait for
its end, a limit or SIGTERM; kill every remaining process; append a line to the trace; write the
outcome. If the mark exists, the outcome does not and the locks are free, this process was killed.

The specification is a JSON object, see `Spec`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import selectors
import signal
import sys
import time

if not __package__:
    # Run as a script in an isolated interpreter: the arguments name the folders of the packages.
    sys.path.extend(sys.argv[2:])
from fleetmark_agent.runner import resource_usage
from fleetmark_core import process_tree
from fleetmark_core.sandbox.scratch_usage import scratch_bytes

EXIT_ALREADY_STARTED = 75
"""Exit code if the attempt was started before: it is never started twice."""
EXIT_DEVICE_BUSY = 76
"""Exit code if another process holds the device's lock."""
STARTED_WORD = b"started\n"
"""Line written to standard output once the mark is durable."""
JOB_LOCK_FD = 4
"""Descriptor of the device's lock in the job; 3 is the progress pipe."""

_PR_SET_PDEATHSIG = 1
_MAX_LINE_BYTES = 16 * 1024
_PROGRESS_INTERVAL_S = 1.0
_SPAWN_FAILED = 127
_SIGNALED = 128
_OUTCOME_BYTES = 1024
_FIRST_LOOK_S, _LOOK_S = 0.1, 1.0
SAMPLER_WAIT_S = 10
"""Maximum time that a job waits for the first telemetry; slow devices need about 2 s."""
_LOOK_SHARE = 0.01
"""Maximum share of one core that is spent on checking limits."""


class Spec:
    """Specification of a job to run. Paths are absolute.

    Attributes:
        command: the program and its arguments, as for execve.
        environment: all environment variables of the job.
        folder: the working directory.
        stdout: file that gets at most `max_output_bytes`; the rest is only counted.
        stderr: as `stdout`.
        max_output_bytes: limit of each of the two files.
        timeout_s: time after which the job is stopped.
        grace_s: time between SIGTERM and SIGKILL.
        started: the mark file, written by this process.
        progress: file with the latest progress, written by this process.
        outcome: file with the outcome, written by this process.
        trace: file that this process appends to.
        attempt: plain values that are copied into the trace.
        nice: scheduling priority of the job.
        lock_fd: inherited descriptor of the device's lock.
        alive_fd: inherited descriptor of the attempt's lock.
        monitored: whether the command only waits for the job (bubblewrap). Then its exit code
            reports the job's end, 128 and more being a signal, and signals are sent to the process
            group of the command's child.
        control_group: folder of the control group that the job joins; empty for none.
        memory_groups: folders of the control groups above the job whose memory limits apply to it.
        limits: `memory_bytes` and `processes` of all processes of the job together, and
            `scratch_bytes` of the folders `scratch`; 0 for no limit.
        scratch: the folders to which `scratch_bytes` applies.
        cores: the cores on which the job runs; empty for all.
        sampler_fd: inherited pipe that is written to or closed once the first telemetry is read;
            the job starts then. -1 if nothing is sampled.
    """

    def __init__(self, values: dict[str, object]) -> None:
        self.command = [str(word) for word in _list(values["command"])]
        self.environment = {str(k): str(v) for k, v in _dict(values["environment"]).items()}
        self.folder = str(values["folder"])
        self.stdout = str(values["stdout"])
        self.stderr = str(values["stderr"])
        self.max_output_bytes = int(str(values["max_output_bytes"]))
        self.timeout_s = float(str(values["timeout_s"]))
        self.grace_s = float(str(values["grace_s"]))
        self.started = str(values["started"])
        self.progress = str(values["progress"])
        self.outcome = str(values["outcome"])
        self.trace = str(values["trace"])
        self.attempt = _dict(values["attempt"])
        self.nice = int(str(values["nice"]))
        self.lock_fd = int(str(values["lock_fd"]))
        self.alive_fd = int(str(values["alive_fd"]))
        self.monitored = bool(values.get("monitored", False))
        self.control_group = str(values.get("control_group", ""))
        self.memory_groups = [str(path) for path in _list(values.get("memory_groups", []))]
        limits = _dict(values.get("limits", {}))
        self.limits = {name: int(str(limit)) for name, limit in limits.items()}
        self.scratch = [str(path) for path in _list(values.get("scratch", []))]
        self.cores = [int(str(core)) for core in _list(values.get("cores", []))]
        self.sampler_fd = int(str(values.get("sampler_fd", -1)))


def command(spec: str) -> list[str]:
    """Return the command that runs the job of the specification at `spec`."""
    own = os.path.abspath(resource_usage.__file__).rpartition("/fleetmark_agent/")[0]  # noqa: PTH100
    core = os.path.abspath(process_tree.__file__).rpartition("/fleetmark_core/")[0]  # noqa: PTH100
    folders = dict.fromkeys((own, core))
    return [sys.executable, "-I", "-S", "-B", os.path.abspath(__file__), spec, *folders]  # noqa: PTH100


def main(path: str) -> int:
    """Run the job of the specification at `path`; return the exit code."""
    # SIGTERM must not kill this process between mark and outcome, before it has a handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with open(path, "rb") as file:  # noqa: PTH123  (pathlib costs more to import than it gives here)
        spec = Spec(json.load(file))
    try:
        # Normally the agent has already locked the inherited descriptor; then this changes nothing.
        fcntl.flock(spec.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return EXIT_DEVICE_BUSY
    try:
        mark = os.open(spec.started, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return EXIT_ALREADY_STARTED
    with os.fdopen(mark, "wb") as file:
        file.write(json.dumps({"pid": os.getpid(), "unix_ns": time.time_ns()}).encode())
        file.flush()
        os.fsync(file.fileno())
    reserve(spec.outcome)
    _sync_folder(spec.started)
    with contextlib.suppress(OSError):
        # The agent may have ended already; the job runs regardless.
        os.write(1, STARTED_WORD)
    return Supervisor(spec).run()


class Supervisor:
    """Supervisor of one job, from its start to its outcome."""

    def __init__(self, spec: Spec) -> None:
        """Install signal handlers: SIGTERM stops the job; SIGINT and SIGHUP are ignored."""
        self.spec = spec
        self.reason = ""
        self.selector = selectors.DefaultSelector()
        self.sinks: dict[int, _Sink | _Progress] = {}
        self.asked_to_end = False
        self.wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, self._note)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        self.selector.register(self.wake_read, selectors.EVENT_READ)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self.status: int | None = None
        self.usage = resource_usage.Usage()
        self.passed: dict[str, int] = {}
        self.kills: dict[str, int] = {}
        self.oom: dict[str, int | None] | None = None
        self.pid = 0
        self.started_unix_ns = 0
        self.started_ns = 0

    def run(self) -> int:
        """Run the job; return this process's exit code. The outcome file has the job's result."""
        process_tree.become_subreaper()
        self._trace("started")
        self._await_sampler()
        self.started_unix_ns, self.started_ns = time.time_ns(), time.monotonic_ns()
        self.kills = resource_usage.oom_kills(self._memory_groups())
        self._spawn()
        self._watch()
        ended_ns = time.monotonic_ns()
        self.oom = self._oom_kill()
        self._end_all()
        self._drain()
        self._trace("ended", outcome=self._outcome())
        self._write_outcome(ended_ns)
        return 0

    # --- the job ---

    def _await_sampler(self) -> None:
        """Wait for the first telemetry, so that readings cover the job from its beginning.

        A sampler that failed closes the pipe. A job without telemetry is still a job.
        """
        if self.spec.sampler_fd < 0:
            return
        ready = select.poll()
        for descriptor in (self.spec.sampler_fd, self.wake_read):
            ready.register(descriptor, select.POLLIN)
        ready.poll(1000 * SAMPLER_WAIT_S)
        os.close(self.spec.sampler_fd)

    def _spawn(self) -> None:
        spec = self.spec
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._become_job(parent, [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        # Parent and child both set the group, so that it exists whichever runs first.
        with contextlib.suppress(OSError):
            os.setpgid(self.pid, self.pid)
        sinks: tuple[_Sink | _Progress, ...] = (
            _Sink(spec.stdout, spec.max_output_bytes),
            _Sink(spec.stderr, spec.max_output_bytes),
            _Progress(spec.progress),
        )
        for (read, _), sink in zip(pipes, sinks, strict=True):
            os.set_blocking(read, False)
            self.sinks[read] = sink
            self.selector.register(read, selectors.EVENT_READ)

    def _become_job(self, parent: int, writes: list[int]) -> None:
        """Become the job; runs in the child and never returns."""
        spec = self.spec
        try:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(_SPAWN_FAILED)
            os.setpgid(0, 0)
            if spec.control_group:
                with open(f"{spec.control_group}/cgroup.procs", "w") as file:  # noqa: PTH123
                    file.write("0")
            signal.set_wakeup_fd(-1)
            for number in (
                signal.SIGTERM,
                signal.SIGCHLD,
                signal.SIGINT,
                signal.SIGHUP,
                signal.SIGPIPE,
            ):
                signal.signal(number, signal.SIG_DFL)
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, 0, spec.nice)
            if spec.cores:
                with contextlib.suppress(OSError, AttributeError):
                    os.sched_setaffinity(0, spec.cores)
            # Above all descriptors in use, so that no copy below overwrites a source.
            stdout, stderr, progress, lock = (
                _dup_above(descriptor, 64) for descriptor in (*writes, spec.lock_fd)
            )
            null = os.open(os.devnull, os.O_RDONLY)
            targets = ((null, 0), (stdout, 1), (stderr, 2), (progress, 3), (lock, JOB_LOCK_FD))
            for source, target in targets:
                os.dup2(source, target, inheritable=True)
            os.closerange(JOB_LOCK_FD + 1, 4096)
            # bubblewrap creates parent folders of the job's folders; the job's user must be able to
            # enter them.
            os.umask(0o022)
            os.chdir(spec.folder)
            os.execve(spec.command[0], spec.command, spec.environment)  # noqa: S606
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(2, f"cannot start {spec.command[0]}: {error}\n".encode())
        os._exit(_SPAWN_FAILED)

    def _watch(self) -> None:
        """Wait until the job's first process has ended; stop it on timeout, limit or request."""
        deadline = time.monotonic() + self.spec.timeout_s
        kill_at: float | None = None
        # Check often at first, when nothing is measured yet and most failures occur.
        pause_s = _FIRST_LOOK_S
        look_at = time.monotonic() + pause_s if self.spec.limits else deadline
        while not self._reaped():
            now = time.monotonic()
            if kill_at is None and now >= look_at:
                kill_at = now if self._over_a_limit() else None
                spent = time.monotonic() - now
                pause_s = min(2 * pause_s, _LOOK_S)
                look_at = now + max(pause_s, spent / _LOOK_SHARE)
            if kill_at is None and (self.asked_to_end or now >= deadline):
                self.reason = "stopped" if self.asked_to_end else "timeout"
                self._signal_job(signal.SIGTERM)
                kill_at = now + self.spec.grace_s
            elif kill_at is not None and now >= kill_at:
                self._kill_job()
                kill_at = now + 1.0
            due = min(look_at, deadline) if kill_at is None else kill_at
            self._read(max(0.0, due - now))

    def _over_a_limit(self) -> bool:
        """Return whether the job exceeds a limit; if it does, record the limit as the reason."""
        limits = self.spec.limits
        job = process_tree.descendants(os.getpid())
        memory, tasks = resource_usage.used_by(job)
        if memory >= limits.get("memory_bytes", 0) > 0:
            memory = resource_usage.proportional_bytes(job, memory)
        used = {"memory_bytes": memory, "processes": tasks}
        if limits.get("scratch_bytes"):
            used["scratch_bytes"] = scratch_bytes(self.spec.scratch, limits["scratch_bytes"])
        for name, limit in limits.items():
            # The kernel allows exactly `limit` processes, so the count never exceeds it.
            if limit and used[name] >= limit:
                self.reason, self.passed = "limit", {name: used[name], f"{name}_limit": limit}
                return True
        return False

    def _reaped(self) -> bool:
        """Return whether the job's first process has ended; reap adopted processes as well."""
        while self.status is None:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self.status = 0
                break
            if pid == 0:
                return False
            self.usage.add(usage)
            if pid == self.pid:
                self.status = status
        return True

    def _signal_job(self, number: int) -> None:
        """Signal the job's group, but not bubblewrap, which would end without its job."""
        leaders = process_tree.children_of(self.pid) if self.spec.monitored else [self.pid]
        for pid in leaders:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def _kill_job(self) -> None:
        """Kill the whole job at once if possible, so that it cannot escape by forking."""
        if self.spec.control_group:
            kill = f"{self.spec.control_group}/cgroup.kill"
            with contextlib.suppress(OSError), open(kill, "w") as file:  # noqa: PTH123
                file.write("1")
        # If the first process of a PID namespace dies, the kernel kills all others in it.
        for pid in process_tree.children_of(self.pid) if self.spec.monitored else ():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        process_tree.kill_group(self.pid)

    def _end_all(self) -> None:
        """Kill all remaining processes of the job: its group and those re-parented here."""
        self._kill_job()
        while True:
            left = process_tree.descendants(os.getpid())
            # SIGSTOP comes first, so that a process that forks faster than it is killed stops
            # forking.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in left:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            try:
                # Orphans of a killed child are re-parented to this process, so list the descendants
                # again.
                pid, _, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid:
                self.usage.add(usage)
            else:
                time.sleep(0.005)
        if self.spec.control_group:
            with contextlib.suppress(OSError):
                os.rmdir(self.spec.control_group)  # noqa: PTH106

    def _memory_groups(self) -> list[str]:
        own = self.spec.control_group
        return [*([own] if own else []), *self.spec.memory_groups]

    def _oom_kill(self) -> dict[str, int | None] | None:
        """Return what the kernel killed for memory since the job started; None if nothing.

        `limit_bytes` is the lowest limit of the groups in which it killed; None if the device as a
        whole was out of memory. `own_group` is 1 if it killed in the job's own group.
        """
        now = resource_usage.oom_kills(self._memory_groups())
        before = self.kills
        more = {group: count - before[group] for group, count in now.items() if group in before}
        groups = [group for group, count in more.items() if group and count > 0]
        if not groups and more.get("", 0) <= 0:
            return None
        limits = [resource_usage.memory_limit(group) for group in groups]
        known = [limit for limit in limits if limit is not None]
        return {
            "processes": max(more[group] for group in groups) if groups else more[""],
            "limit_bytes": min(known) if known else None,
            "own_group": int(bool(self.spec.control_group) and self.spec.control_group in groups),
        }

    # --- output of the job ---

    def _read(self, timeout_s: float) -> None:
        for key, _ in self.selector.select(timeout_s):
            descriptor = key.fd
            try:
                data = os.read(descriptor, 64 * 1024)
            except BlockingIOError:
                continue
            if descriptor == self.wake_read:
                continue
            if data:
                self.sinks[descriptor].take(data)
            else:
                self._close(descriptor)

    def _drain(self) -> None:
        """Read the rest of the pipes; all writers are dead, so nothing can be added."""
        for descriptor in list(self.sinks):
            while descriptor in self.sinks:
                try:
                    data = os.read(descriptor, 64 * 1024)
                except BlockingIOError:
                    data = b""
                if data:
                    self.sinks[descriptor].take(data)
                else:
                    self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self.selector.unregister(descriptor)
        os.close(descriptor)
        self.sinks.pop(descriptor).close()

    def _note(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            self.asked_to_end = True

    # --- trace and outcome ---

    def _trace(self, event: str, **more: str) -> None:
        line = {
            "event": event,
            "by": "supervisor",
            "pid": os.getpid(),
            "unix_ns": time.time_ns(),
            "monotonic_ns": time.monotonic_ns(),
        }
        append_line(self.spec.trace, {**self.spec.attempt, **line, **more})

    def _outcome(self) -> str:
        """Return how the job ended.

        This is `exited` or `signaled`, or, if this process ended it, `stopped`, `timeout` or
        `limit`.
        """
        return self.reason or ("exited" if self._signal() is None else "signaled")

    def _signal(self) -> int | None:
        """Return the signal that ended the job; None if it exited."""
        status = self.status or 0
        if os.WIFSIGNALED(status):
            return os.WTERMSIG(status)
        number = os.WEXITSTATUS(status) - _SIGNALED
        return number if self.spec.monitored and 0 < number < signal.NSIG else None

    def _write_outcome(self, ended_ns: int) -> None:
        number = self._signal()
        values: dict[str, object] = {
            "format": 1,
            "outcome": self._outcome(),
            "exit_code": os.WEXITSTATUS(self.status or 0) if number is None else None,
            "signal": number,
            "started_unix_ns": self.started_unix_ns,
            "duration_ns": ended_ns - self.started_ns,
            "peak_memory_bytes": self.usage.peak_bytes or None,
            "user_s": self.usage.user_s,
            "system_s": self.usage.system_s,
            "passed": self.passed,
            "memory_limit_bytes": self.spec.limits.get("memory_bytes") or None,
            "oom_kill": self.oom,
        }
        write_reserved(self.spec.outcome, json.dumps(values).encode())


class _Sink:
    """Output file with a size limit. Ignores write errors: a full disk must not fail the job."""

    def __init__(self, path: str, max_bytes: int) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.room = max_bytes
        self.dropped = 0

    def take(self, data: bytes) -> None:
        part = data[: self.room]
        with contextlib.suppress(OSError):
            os.write(self.file, part)
        self.room -= len(part)
        self.dropped += len(data) - len(part)

    def close(self) -> None:
        if self.dropped:
            with contextlib.suppress(OSError):
                os.write(self.file, f"\n[{self.dropped} more bytes were dropped]\n".encode())
        os.close(self.file)


class _Progress:
    """Writer of the job's latest valid progress line to a small file, at most once per second."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.rest = b""
        self.latest: dict[str, object] | None = None
        self.written_at = 0.0

    def take(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.rest = self.rest[-_MAX_LINE_BYTES:]
        for line in lines:
            self.latest = _progress(line) or self.latest
        if self.latest and time.monotonic() - self.written_at >= _PROGRESS_INTERVAL_S:
            self._write()

    def close(self) -> None:
        if self.latest:
            self._write()

    def _write(self) -> None:
        self.written_at = time.monotonic()
        temporary = f"{self.path}.tmp"
        with contextlib.suppress(OSError):
            with open(temporary, "wb") as file:  # noqa: PTH123
                file.write(json.dumps(self.latest).encode())
            os.replace(temporary, self.path)  # noqa: PTH105


def _progress(line: bytes) -> dict[str, object] | None:
    try:
        values = json.loads(line)
        phase, done, total = values["phase"], values.get("done", 0), values.get("total", 0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    counts_fit = all(type(n) is int and 0 <= n < 1 << 63 for n in (done, total))
    if not isinstance(phase, str) or not phase.isprintable() or len(phase) > 40 or not counts_fit:
        return None
    return {"phase": phase, "done": done, "total": total}


def prctl(option: int, value: int) -> None:
    """Call prctl on Linux; do nothing elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def append_line(path: str, values: dict[str, object]) -> None:
    """Append one JSON line durably; ignore write errors such as a full disk."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, json.dumps(values).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def reserve(path: str) -> None:
    """Reserve disk space for the outcome now, because the job may fill the disk.

    Raises:
        OSError: the disk is full already.
    """
    with open(f"{path}.tmp", "wb") as file:  # noqa: PTH123
        file.write(b" " * _OUTCOME_BYTES)
        file.flush()
        os.fsync(file.fileno())


def write_reserved(path: str, data: bytes) -> None:
    """Write `data` into the reserved space and rename it to `path`, atomically and durably."""
    with open(f"{path}.tmp", "r+b") as file:  # noqa: PTH123
        file.write(data.ljust(_OUTCOME_BYTES))
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.tmp", path)  # noqa: PTH105
    _sync_folder(path)


def _dup_above(descriptor: int, lowest: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, lowest)


def _sync_folder(path: str) -> None:
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH120
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r:.80}")
    return value


def _dict(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"not a JSON object: {value!r:.80}")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
