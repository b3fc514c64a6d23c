"""The supervisor by itself: a process that runs one job, outlives its agent and tells the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetmark_agent.runner import supervisor
from fleetmark_agent.runner.orphans import processes_of
from fleetmark_agent.state.file_locks import is_held, try_lock


def until(seen: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := seen()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


class Bench:
    """One supervisor on a workspace of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.device_lock = folder / "device.lock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, source: str, *, take_lock: bool = True, **changes: Any) -> None:
        self.out.mkdir(exist_ok=True)
        lock = try_lock(self.device_lock) if take_lock else os.open(self.device_lock, os.O_RDWR)
        alive = try_lock(self.folder / "alive")
        assert lock is not None and alive is not None
        spec: dict[str, Any] = {
            "command": [sys.executable, "-I", "-S", "-c", source],
            "environment": {"FLEETMARK_JOB": str(self.folder / "job.json"), "OUT": str(self.out)},
            "folder": str(self.out),
            "timeout_s": 60,
            "grace_s": 0.5,
            "max_output_bytes": 1000,
            "attempt": {"device_id": "d", "job_id": "j", "epoch": 1},
            "trace": str(self.folder / "trace.jsonl"),
            "nice": 0,
            "lock_fd": lock,
            "alive_fd": alive,
        }
        for name in ("stdout", "stderr", "started", "progress", "outcome"):
            spec[name] = str(self.folder / name)
        spec.update(changes)
        path = self.folder / "spec.json"
        path.write_text(json.dumps(spec))
        self.process = subprocess.Popen(
            supervisor.command(str(path)),
            pass_fds=(lock, alive, *([changes["sampler_fd"]] if "sampler_fd" in changes else [])),
            start_new_session=True,
            stdout=subprocess.PIPE,
            env={},
        )
        os.close(lock)
        os.close(alive)

    def end(self) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.wait(60) == 0
        return self.outcome()

    def outcome(self) -> dict[str, Any]:
        values = json.loads((self.folder / "outcome").read_text())
        assert isinstance(values, dict)
        return values

    def trace(self) -> list[str]:
        lines = (self.folder / "trace.jsonl").read_text().splitlines()
        return [json.loads(line)["event"] for line in lines]

    def wait_for(self, name: str) -> str:
        return until(lambda: (self.out / name).exists() and (self.out / name).read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    for pid in processes_of(tmp_path / "job.json"):
        os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("ending", ["written", "closed"])
def test_a_job_waits_for_the_first_telemetry(bench: Bench, ending: str) -> None:
    sampler_fd, ready_fd = os.pipe2(os.O_CLOEXEC)
    bench.start("", sampler_fd=sampler_fd)
    os.close(sampler_fd)
    until((bench.folder / "trace.jsonl").exists)
    time.sleep(0.3)
    assert bench.trace() == ["started"]
    ready_unix_ns = time.time_ns()
    if ending == "written":
        os.write(ready_fd, b"1")
    os.close(ready_fd)
    assert bench.end()["started_unix_ns"] >= ready_unix_ns


def test_a_stop_does_not_wait_for_telemetry(bench: Bench) -> None:
    sampler_fd, ready_fd = os.pipe2(os.O_CLOEXEC)
    bench.start("import time; time.sleep(60)", sampler_fd=sampler_fd)
    os.close(sampler_fd)
    until((bench.folder / "trace.jsonl").exists)
    began = time.monotonic()
    assert bench.process is not None
    bench.process.terminate()
    assert bench.end()["outcome"] == "stopped"
    assert time.monotonic() - began < supervisor.SAMPLER_WAIT_S
    os.close(ready_fd)


def test_a_job_that_ends_by_itself(bench: Bench) -> None:
    bench.start("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    outcome = bench.end()
    assert (outcome["outcome"], outcome["exit_code"], outcome["signal"]) == ("exited", 7, None)
    assert outcome["duration_ns"] > 0 and outcome["peak_memory_bytes"] > 1 << 20
    assert (bench.folder / "stdout").read_text() == "out\n"
    assert (bench.folder / "stderr").read_text() == "err\n"
    assert bench.trace() == ["started", "ended"]
    assert not is_held(bench.device_lock)


def test_the_time_limit(bench: Bench) -> None:
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)"
    bench.start(ignore, timeout_s=0.3, grace_s=0.2)
    outcome = bench.end()
    assert (outcome["outcome"], outcome["signal"]) == ("timeout", signal.SIGKILL)


def test_sigterm_gives_the_job_time_to_end(bench: Bench) -> None:
    source = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (open("tidy", "w").write("yes"), sys.exit(3)))
open("ready", "w").write("yes")
time.sleep(99)
"""
    bench.start(source, grace_s=30)
    bench.wait_for("ready")
    assert bench.process is not None
    bench.process.terminate()
    outcome = bench.end()
    assert (outcome["outcome"], outcome["exit_code"]) == ("stopped", 3)
    assert (bench.out / "tidy").exists()


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("daemon.tmp", "w").write(str(os.getpid()))
        os.rename("daemon.tmp", "daemon")
        time.sleep(600)
    os._exit(0)
while not os.path.exists("daemon"):
    time.sleep(0.01)
"""


def test_what_a_job_leaves_behind_is_ended_before_the_lock_is_free(bench: Bench) -> None:
    bench.start(DAEMON)
    assert bench.end()["outcome"] == "exited"
    assert not alive(int(bench.wait_for("daemon")))
    assert not is_held(bench.device_lock)


def test_a_killed_supervisor_takes_its_job_along_and_daemons_keep_the_lock(bench: Bench) -> None:
    bench.start(DAEMON + "open('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    daemon, job = int(bench.wait_for("daemon")), int(bench.wait_for("pid"))
    assert bench.process is not None
    bench.process.kill()
    bench.process.wait()
    until(lambda: not alive(job))
    assert alive(daemon) and is_held(bench.device_lock) and not is_held(bench.folder / "alive")
    assert processes_of(bench.folder / "job.json") == [daemon]
    assert not (bench.folder / "outcome").exists()
    assert bench.trace() == ["started"]


def test_no_attempt_is_started_twice(bench: Bench) -> None:
    bench.start("open('runs', 'a').write('x')")
    bench.end()
    bench.start("open('runs', 'a').write('x')")
    assert bench.process is not None
    assert bench.process.wait(30) == supervisor.EXIT_ALREADY_STARTED
    assert (bench.out / "runs").read_text() == "x"


def test_nothing_starts_while_another_holds_the_device(bench: Bench) -> None:
    held = try_lock(bench.device_lock)
    assert held is not None
    bench.start("pass", take_lock=False)
    assert bench.process is not None
    assert bench.process.wait(30) == supervisor.EXIT_DEVICE_BUSY
    assert not (bench.folder / "started").exists()
    os.close(held)


def test_endless_output_is_cut_and_does_not_block(bench: Bench) -> None:
    bench.start("for _ in range(20000): print('x' * 100)")
    assert bench.end()["exit_code"] == 0
    output = (bench.folder / "stdout").read_bytes()
    assert len(output) < 1100 and output.endswith(b"[2019000 more bytes were dropped]\n")


def test_progress_is_the_last_sound_line(bench: Bench) -> None:
    source = r"""
import os
lines = ['{"phase":"load"}', 'nonsense', '{"phase":"run","done":5,"total":9}', '{"phase":7}', '[]',
    '{"phase":"x","done":-1}', '{"phase":"x","done":1e999}', '{"phase":"\\u001b[2J"}',
    '[' * 5000, 'x' * 99999]
os.write(3, ('\n'.join(lines) + '\n{"phase":"torn"').encode())
"""
    bench.start(source)
    bench.end()
    progress = json.loads((bench.folder / "progress").read_text())
    assert progress == {"phase": "run", "done": 5, "total": 9}


def test_a_program_that_is_not_there(bench: Bench) -> None:
    bench.start("", command=["/nonexistent/python"])
    assert bench.end()["exit_code"] == 127
    assert "cannot start /nonexistent/python" in (bench.folder / "stderr").read_text()


def test_a_stopped_reader_does_not_matter_and_a_terminal_signal_neither(bench: Bench) -> None:
    bench.start("import time; open('ready', 'w').write('1'); time.sleep(0.3)")
    bench.wait_for("ready")
    assert bench.process is not None and bench.process.stdout is not None
    bench.process.stdout.close()
    for number in (signal.SIGINT, signal.SIGHUP):
        bench.process.send_signal(number)
    assert bench.end()["outcome"] == "exited"


def test_sigterm_at_any_moment_of_the_start_leaves_an_outcome_or_no_mark(tmp_path: Path) -> None:
    stopped = 0
    for moment in range(25):
        folder = tmp_path / str(moment)
        folder.mkdir()
        bench = Bench(folder)
        bench.start("import time; time.sleep(60)", grace_s=0.2)
        assert bench.process is not None
        # Up to half a second: on a busy machine the interpreter alone takes a tenth.
        time.sleep(moment * moment * 0.0008)
        bench.process.terminate()
        bench.process.wait(30)
        if (folder / "started").exists():
            assert bench.outcome()["outcome"] == "stopped"
            assert bench.trace() == ["started", "ended"]
            stopped += 1
        else:
            assert not (folder / "trace.jsonl").exists()
    assert stopped


KILLED_BY_THE_KERNEL = """
import os, signal
from pathlib import Path
# What the kernel writes when it ends a process of the group.
Path(os.environ["GROUP"], "memory.events").write_text("oom 1\\noom_kill 1\\n")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_by_the_kernel_for_memory_is_recorded(bench: Bench) -> None:
    group = bench.folder / "group"
    group.mkdir()
    (group / "memory.events").write_text("oom 0\noom_kill 0\n")
    (group / "memory.max").write_text("500000000\n")
    bench.start(KILLED_BY_THE_KERNEL, environment={"GROUP": str(group)}, memory_groups=[str(group)])
    outcome = bench.end()
    assert (outcome["outcome"], outcome["signal"]) == ("signaled", signal.SIGKILL)
    assert outcome["oom_kill"] == {
        "processes": 1,
        "limit_bytes": 500_000_000,
        "own_group": 0,
    }


def test_another_kill_is_none_for_memory(bench: Bench) -> None:
    group = bench.folder / "group"
    group.mkdir()
    (group / "memory.events").write_text("oom 3\noom_kill 3\n")
    bench.start("import os; os.kill(os.getpid(), 9)", memory_groups=[str(group)])
    outcome = bench.end()
    assert (outcome["outcome"], outcome["oom_kill"]) == ("signaled", None)
