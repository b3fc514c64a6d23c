"""A fleet at scale: `bench/fleet.py [--agents 1000] [--more 5000] [--dispatches 300] [--no-peers]`.

A real `controller serve`, and simulated agents in processes of their own (`fleet_agents.py`) over
mutual TLS on loopback. For each size, beside bare grpc.aio in the same number of processes
(`fleet_bare.py`): until all are connected and a list shows them online; dispatch, from the call of
`Submit` to the durable acceptance of the offer, one job at a time, while all heartbeat; the
controller's CPU while they only heartbeat. On one real agent: from `Submit` to the first result of
a benchmark that does nothing, beside its program as a bare child process. In the same run labgrid's
coordinator shows as many exporters, and Flower brings the first result of an app that does nothing
(`fleet_peers.py`). Prints a table, and what missed its goal; ends with 0 all the same, unless
`--strict`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fleet_peers
from certificate import write_certificate
from fleet_children import Child, Herd, raise_file_limit, shares
from fleet_figures import HEADS, Figures, Size, rows
from markdown import table
from processes import Lab, free_port, until

from fleetmark_protos.channel import SERVER_NAME

if TYPE_CHECKING:
    from fleetmark_controller.client import Client

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests" / "faults"))
PROCESSES = 2
_SETTLE_S = 10.0
_SETTINGS = "heartbeat_idle_s = 15.0\nlease_s = 45.0\nadvertise = false\ncatalogs = [{!r}]\n"


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    sizes: list[int]
    dispatches: int
    tries: int
    idle_s: float


def say(text: str) -> None:
    """What is being done, for those who wait."""
    print(f"» {text}", flush=True)


# --- the floor ----------------------------------------------------------------------------------


def measure_bare(plan: Plan, folder: Path) -> dict[int, Size]:
    """A bare server, and as many bare clients."""
    import grpc

    folder.mkdir()
    certificate, key = write_certificate(folder, SERVER_NAME)
    port, program = free_port(), HERE / "fleet_bare.py"
    server = Child([sys.executable, program, "server", port, folder], folder / "server.log")
    parts = shares(max(plan.sizes), PROCESSES)
    firsts = [sum(parts[:n]) for n in range(PROCESSES)]
    clients = [
        Child([sys.executable, program, "clients", port, first, part, folder], folder / "c.log")
        for first, part in zip(firsts, parts, strict=True)
    ]
    found = {}
    with Herd([server]) as only, Herd(clients) as herd:
        only.ready()
        herd.ready()
        pem = certificate.read_bytes()
        credentials = grpc.ssl_channel_credentials(pem, key.read_bytes(), pem)
        from fleetmark_protos.channel import client_options

        address = f"127.0.0.1:{port}"
        with grpc.secure_channel(address, credentials, options=client_options()) as channel:
            push = channel.unary_unary("/b/push")
            for size in plan.sizes:
                began = herd.dial(size)
                figures = found[size] = Size(herd.last - began)
                figures.server_cores = busy_cores(server.process.pid, plan.idle_s)
                figures.server_mib = resident_mib(server.process.pid)
                for place, number in targets(size, firsts, plan.dispatches):
                    began = time.monotonic()
                    push(str(number).encode())
                    told = float(clients[place].hears("accepted")[1])
                    figures.dispatch_ms.append(1000 * (told - began))
                herd.leave()
    return found


def targets(size: int, firsts: list[int], count: int) -> list[tuple[int, int]]:
    """Process and number of the clients that get something, spread over all that are connected."""
    parts = shares(size, len(firsts))
    found = []
    for step in range(count):
        place = step % len(firsts)
        found.append((place, firsts[place] + (step * 37) % parts[place]))
    return found


def busy_cores(pid: int, idle_s: float) -> float:
    """How much of a core a process takes, over a while."""
    import psutil

    process = psutil.Process(pid)
    before, at = process.cpu_times(), time.monotonic()
    time.sleep(idle_s)
    after = process.cpu_times()
    spent_s = after.user + after.system - before.user - before.system
    return float(spent_s / (time.monotonic() - at))


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    import psutil

    return float(psutil.Process(pid).memory_info().rss / 2**20)


def bare_child_s(folder: Path, tries: int) -> list[float]:
    """Seconds of the program that does nothing, started without anything of ours."""
    import toy

    program = folder / "catalog" / "program" / "toy"
    found = []
    for number in range(tries):
        # Where its marks say that it ran on a board.
        out = folder / "home" / "attempts" / f"bare{number}" / "out"
        out.mkdir(parents=True)
        job = out.parent / "job.json"
        values = {"marks": str(folder / "marks"), "duration_s": 0}
        job.write_text(json.dumps({"job_id": "bare", "epoch": number, "parameters": values}))
        began = time.monotonic()
        progress = os.open(os.devnull, os.O_WRONLY)
        subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                "-B",
                "-c",
                _LIKE_A_JOB,
                str(progress),
                program / "main.py",
            ],
            env={"FLEETMARK_JOB": str(job), "PATH": "/usr/bin:/bin"},
            cwd=out,
            check=True,
            pass_fds=[progress],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        found.append(time.monotonic() - began)
        os.close(progress)
    assert program.name == toy.NAME
    return found


_LIKE_A_JOB = "import os, runpy, sys; os.dup2(int(sys.argv[1]), 3); runpy.run_path(sys.argv[2])"


# --- ours ---------------------------------------------------------------------------------------


class Ours:
    """A controller with its agents."""

    def __init__(self, lab: Lab, client: Client) -> None:
        """Both are up."""
        self.lab = lab
        self.client = client
        self.pid = lab.children["controller"].pid

    def submit(self, selector: str) -> str:
        """A campaign of one job of the benchmark that does nothing; returns its id."""
        from fleetmark_controller.ids import uuid7
        from fleetmark_protos.v1 import jobs_pb2

        values = {"marks": str(self.lab.folder / "marks"), "duration_s": "0"}
        request = jobs_pb2.SubmitRequest(
            campaign_id=uuid7(),
            benchmark="toy",
            selector=selector,
            parameters={k: jobs_pb2.Values(values=[v]) for k, v in values.items()},
        )
        for _ in self.client.stream(self.client.jobs.Submit, request):
            pass
        return str(request.campaign_id)

    def first_result_s(self) -> float:
        """Seconds from the call of Submit until a watcher is told of the stored run."""
        from fleetmark_protos.v1 import jobs_pb2

        began = time.monotonic()
        watch = jobs_pb2.WatchRequest(campaign_id=self.submit("name=real"))
        for event in self.client.stream(self.client.jobs.Watch, watch):
            if event.job.run_id:
                return time.monotonic() - began
        raise RuntimeError("no result came")

    def command_s(self) -> float:
        """Seconds of `controller schedule --wait`, from its start to its end."""
        marks = f"marks={self.lab.folder / 'marks'}"
        began = time.monotonic()
        self.lab.controller(
            *("schedule", "toy", "--fleet", "name=real", "--wait"),
            *("--set", marks, "--set", "duration_s=0"),
        )
        return time.monotonic() - began

    def online(self) -> int:
        """How many of the simulated agents a list shows online."""
        from fleetmark_protos.v1 import fleet_pb2

        request = fleet_pb2.ListDevicesRequest(selector="name=herd*")
        listed = self.client.call(self.client.fleet.ListDevices, request).devices
        return sum(device.presence == "online" for device in listed)

    def facts(self) -> dict[str, Any]:
        """Capabilities of the real agent."""
        from fleetmark_protos.plain import to_plain
        from fleetmark_protos.v1 import fleet_pb2

        request = fleet_pb2.ListDevicesRequest(selector="name=real")
        (real,) = self.client.call(self.client.fleet.ListDevices, request).devices
        return to_plain(real.capabilities)

    def measure(self, herd: Herd, firsts: list[int], size: int, plan: Plan) -> Size:
        """One size of fleet."""
        began = herd.dial(size)
        until(lambda: self.online() == size, f"{size} agents in the list")
        found = Size(time.monotonic() - began)
        found.server_cores = busy_cores(self.pid, plan.idle_s)
        found.server_mib = resident_mib(self.pid)
        for place, number in targets(size, firsts, plan.dispatches):
            began = time.monotonic()
            self.submit(f"name=herd{number:04}")
            told = float(herd.children[place].hears("accepted")[1])
            found.dispatch_ms.append(1000 * (told - began))
        herd.leave()
        return found


def measure_ours(plan: Plan, folder: Path, found: Figures) -> None:
    """A controller, one real agent and many simulated ones."""
    import toy

    from fleetmark_controller.client import Client

    folder.mkdir()
    (folder / "marks").mkdir()
    catalog = str(toy.make_catalog(folder / "catalog"))
    with Lab(folder) as lab:
        lab.start_controller(_SETTINGS.format(catalog))
        lab.start_agent("real")
        credentials = str(folder / "controller" / "identity" / "admin.json")
        with Client(lab.address, credentials) as client:
            ours = Ours(lab, client)
            say("submit to first result, on a real agent")
            time.sleep(_SETTLE_S)  # it looks for software after it has registered
            found.cold_s = ours.first_result_s()
            for _ in range(plan.tries):
                found.first_s.append(ours.first_result_s())
            found.command_s = [ours.command_s() for _ in range(max(1, plan.tries // 4))]
            facts = folder / "capabilities.json"
            facts.write_text(json.dumps(ours.facts()))
            say(f"{max(plan.sizes)} simulated agents enrol")
            words = ("token", "create", "--approve", "--uses", str(max(plan.sizes)), "--json")
            token = json.loads(lab.controller(*words))["token"]
            parts = shares(max(plan.sizes), PROCESSES)
            firsts = [sum(parts[:n]) for n in range(PROCESSES)]
            program = HERE / "fleet_agents.py"
            children = [
                Child(
                    [sys.executable, program, lab.address, first, part, facts],
                    folder / "herd.log",
                    {"FLEETMARK_TOKEN": token},
                )
                for first, part in zip(firsts, parts, strict=True)
            ]
            with Herd(children) as herd:
                herd.ready()
                for size in plan.sizes:
                    say(f"{size} agents connect, heartbeat, get jobs")
                    found.ours[size] = ours.measure(herd, firsts, size, plan)


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--more", type=int, default=5000)
    parser.add_argument("--dispatches", type=int, default=300)
    parser.add_argument("--tries", type=int, default=12)
    parser.add_argument("--idle-s", type=float, default=20.0)
    parser.add_argument("--no-peers", action="store_true", help="neither labgrid nor Flower")
    parser.add_argument("--strict", action="store_true", help="end with 1 when a goal is missed")
    parser.add_argument("--json", metavar="FILE", help="all figures, too")
    given = parser.parse_args()
    raise_file_limit()
    sizes = sorted({given.agents, given.more})
    plan = Plan(sizes, given.dispatches, given.tries, given.idle_s)
    found = Figures()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fleetmark-bench-") as scratch:
        folder = Path(scratch)
        say(f"bare grpc.aio: {' and '.join(map(str, sizes))} streams")
        found.bare = measure_bare(plan, folder / "bare")
        measure_ours(plan, folder / "ours", found)
        found.child_s = bare_child_s(folder / "ours", given.tries)
        if not given.no_peers:
            measure_peers(min(sizes), folder, found)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}, {time.monotonic() - began:.0f} s\n")
    lines = rows(found)
    print(table(HEADS, [row.cells() for row in lines]))
    if given.json:
        Path(given.json).write_text(json.dumps(found, default=vars, indent=1))
    missed = [row.what for row in lines if row.met is False]
    print(f"\nMissed: {'; '.join(missed)}" if missed else "\nEvery goal is met.")
    return int(bool(missed) and given.strict)


def measure_peers(count: int, folder: Path, found: Figures) -> None:
    """Labgrid and Flower, on the same work."""
    labgrid = fleet_peers.environment("labgrid", say)
    flower = fleet_peers.environment("flower", say)
    say(f"labgrid: {count} exporters")
    found.labgrid_s = fleet_peers.labgrid_visible_s(labgrid, count, PROCESSES, folder / "labgrid")
    say("Flower: submit to first result")
    found.flower_s = fleet_peers.flower_first_result_s(flower, 3, folder / "flower")


if __name__ == "__main__":
    sys.exit(main())
