"""A fleet at scale: `bench/fleet.py [--agents 1000] [--more 5000] [--dispatches 300] [--no-peers]`.

It runs a real `controller serve`, and simulated agents in separate processes (`fleet_agents.py`)
over mutual TLS on loopback. For each size it measures, compared with bare grpc.aio in the same
number of processes (`baseline_fleet_server.py`): the time until all agents are connected and a
listing shows them online; the dispatch latency at `--rate` jobs a second while all agents send
heartbeats, from the job being ready to run (its stored time) to its order at the agent, and also
from the call of `Submit`; the CPU time of the controller and of the load generator, which share the
cores. On one real agent it measures the time from `Submit` to the first result of a no-op
benchmark, compared with its program as a bare child process. In the same run labgrid's coordinator
shows as many exporters, and Flower returns the first result of a no-op app (`fleet_peers.py`). It
prints a table and the missed goals. The exit code is 0 even then, unless `--strict` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import fleet_peers
from baseline_fleet import bare_child_s, measure_bare
from fleet_children import (
    PROCESSES,
    Child,
    ClientProcesses,
    Pace,
    Phase,
    raise_file_limit,
    resident_mib,
    shares,
    targets,
)
from fleet_figures import HEADS, WATCHERS, Figures, Plan, Size, Spent, rows
from lab import Lab, until
from markdown import table

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
_SETTLE_S = 10.0
_SETTINGS = "heartbeat_idle_s = 15.0\nlease_s = 45.0\nadvertise = false\ncatalogs = [{!r}]\n"


def print_step(text: str) -> None:
    """Print the current step."""
    print(f"» {text}", flush=True)


class MeasuredController:
    """A controller with its agents, as measured by this bench."""

    def __init__(self, lab: Lab, client: Client) -> None:
        """Use a controller and a client that are already running."""
        self.lab = lab
        self.client = client
        self.pid = lab.children["controller"].pid

    def submit(self, selector: str, duration_s: float = 0.0) -> str:
        """Submit a campaign with one job of the no-op benchmark; return its id."""
        from fleetmark_core.ids import uuid7
        from fleetmark_protos.v1 import jobs_pb2

        values = {"marks": str(self.lab.folder / "marks"), "duration_s": str(duration_s)}
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
        """Return the seconds from the call of Submit until a watcher receives the stored run."""
        from fleetmark_protos.v1 import jobs_pb2

        began = time.monotonic()
        watch = jobs_pb2.WatchRequest(campaign_id=self.submit("name=real"))
        for event in self.client.stream(self.client.jobs.Watch, watch):
            if event.job.run_id:
                return time.monotonic() - began
        raise RuntimeError("no result came")

    def watched_cores(self, seconds: float) -> float:
        """Return the cores that the controller uses while many clients watch a running job."""
        from fleetmark_protos.v1 import jobs_pb2

        watch = jobs_pb2.WatchRequest(campaign_id=self.submit("name=real", seconds + 4))
        streams = [self.client.jobs.Watch(watch) for _ in range(WATCHERS)]
        # A stream begins when it is first read; one thread per stream keeps reading.
        threads = [Thread(target=lambda s=s: [None for _ in s]) for s in streams]
        for thread in threads:
            thread.start()
        time.sleep(2)
        spent = Spent()
        with Phase(spent, self.pid, ()):
            time.sleep(seconds)
        for thread in threads:
            thread.join()  # the campaign has ended
        return spent.server_s / spent.wall_s

    def line_s(self) -> float:
        """Return the seconds from a line written by a job until a log reader receives it."""
        from fleetmark_protos.v1 import jobs_pb2

        request = jobs_pb2.ListJobsRequest(campaign_id=self.submit("name=real", 3))
        (job,) = self.client.call(self.client.jobs.ListJobs, request).jobs
        marks = self.lab.folder / "marks"
        until(lambda: list(marks.glob(f"real.{job.job_id}.*.begin")), "the job")
        logs = jobs_pb2.StreamLogsRequest(job_id=job.job_id, follow=True)
        for chunk in self.client.stream(self.client.jobs.StreamLogs, logs):
            if b"the toy ends" in chunk.data:
                shown = time.time()
                (end,) = marks.glob(f"real.{job.job_id}.*.end")  # created right after that line
                return max(0.0, shown - end.stat().st_mtime)
        raise RuntimeError("the last line was not shown")

    def command_s(self) -> float:
        """Return the seconds of a complete `controller schedule --wait`."""
        marks = f"marks={self.lab.folder / 'marks'}"
        began = time.monotonic()
        self.lab.controller(
            *("schedule", "toy", "--fleet", "name=real", "--wait"),
            *("--param", marks, "--param", "duration_s=0"),
        )
        return time.monotonic() - began

    def online(self) -> int:
        """Return how many of the simulated agents a listing shows online."""
        from fleetmark_protos.v1 import fleet_pb2

        request = fleet_pb2.ListDevicesRequest(selector="name=simulated*")
        listed = self.client.call(self.client.fleet.ListDevices, request).devices
        return sum(device.presence == "online" for device in listed)

    def facts(self) -> dict[str, Any]:
        """Return the capabilities of the real agent."""
        from fleetmark_protos.plain import to_plain
        from fleetmark_protos.v1 import fleet_pb2

        request = fleet_pb2.ListDevicesRequest(selector="name=real")
        (real,) = self.client.call(self.client.fleet.ListDevices, request).devices
        return to_plain(real.capabilities)

    def measure(self, clients: ClientProcesses, firsts: list[int], size: int, plan: Plan) -> Size:
        """Measure one fleet size."""
        found = Size()
        pids = (self.pid, [child.process.pid for child in clients.children])
        with Phase(found.connect, *pids):
            began = clients.dial(size)
            # No listing before all agents were answered: a listing of a thousand devices costs
            # time, too.
            until(lambda: self.online() == size, f"{size} agents in the list")
        found.visible_s = time.monotonic() - began
        with Phase(found.idle, *pids):
            time.sleep(plan.idle_s)
        found.server_mib = resident_mib(self.pid)
        orders: dict[str, int] = {}
        pace = Pace(plan.rate)
        with Phase(found.work, *pids):
            for place, number in targets(size, firsts, plan.dispatches):
                pace.wait()
                began = time.monotonic()
                self.submit(f"name=simulated{number:04}")
                job_id, reported, at_unix_ns = clients.children[place].expect("accepted")
                found.submit_ms.append(1000 * (float(reported) - began))
                orders[job_id] = int(at_unix_ns)
        ready = self.ready_unix_ns()
        found.dispatch_ms = [(at - ready[job_id]) / 1e6 for job_id, at in orders.items()]
        clients.leave()
        return found

    def ready_unix_ns(self) -> dict[str, int]:
        """Return when each job was stored and ready to run, truncated to milliseconds."""
        from fleetmark_core.clock import parse_iso
        from fleetmark_protos.v1 import jobs_pb2

        jobs = self.client.call(self.client.jobs.ListJobs, jobs_pb2.ListJobsRequest()).jobs
        return {job.job_id: parse_iso(job.created_at) for job in jobs}


def measure_fleetmark(plan: Plan, folder: Path, found: Figures) -> None:
    """Measure a controller with one real agent and many simulated ones."""
    from tests.support import noop_benchmark as toy

    from fleetmark_controller.client.connection import Client

    folder.mkdir()
    # A root agent runs jobs as a separate user, which must be able to write here.
    (folder / "marks").mkdir()
    (folder / "marks").chmod(0o777)
    catalog = str(toy.make_catalog(folder / "catalog"))
    with Lab(folder) as lab:
        lab.start_controller(_SETTINGS.format(catalog))
        lab.start_agent("real", f"allow_folders = [{str(folder / 'marks')!r}]\n")
        credentials = str(folder / "controller" / "identity" / "admin.json")
        with Client(lab.address, credentials) as client:
            fleetmark = MeasuredController(lab, client)
            print_step("submit to first result, on a real agent")
            time.sleep(_SETTLE_S)  # the agent detects software after it has registered
            found.cold_s = fleetmark.first_result_s()
            for _ in range(plan.tries):
                found.first_s.append(fleetmark.first_result_s())
            print_step(f"{WATCHERS} watch a job; a line of its log")
            found.line_s = [fleetmark.line_s() for _ in range(max(1, plan.tries // 4))]
            found.watched_cores = fleetmark.watched_cores(min(10.0, plan.idle_s))
            found.command_s = [fleetmark.command_s() for _ in range(max(1, plan.tries // 4))]
            facts = folder / "capabilities.json"
            facts.write_text(json.dumps(fleetmark.facts()))
            print_step(f"{max(plan.sizes)} simulated agents enroll")
            words = ("token", "create", "--approve", "--uses", str(max(plan.sizes)), "--json")
            token = json.loads(lab.controller(*words))["token"]
            parts = shares(max(plan.sizes), PROCESSES)
            firsts = [sum(parts[:n]) for n in range(PROCESSES)]
            program = HERE / "fleet_agents.py"
            children = [
                Child(
                    [sys.executable, program, lab.address, first, part, facts],
                    folder / "agents.log",
                    {"FLEETMARK_TOKEN": token},
                )
                for first, part in zip(firsts, parts, strict=True)
            ]
            with ClientProcesses(children) as clients:
                clients.ready()
                for size in plan.sizes:
                    print_step(f"{size} agents connect, heartbeat, get jobs")
                    found.fleetmark[size] = fleetmark.measure(clients, firsts, size, plan)


def main() -> int:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--more", type=int, default=5000)
    parser.add_argument("--dispatches", type=int, default=300)
    parser.add_argument("--rate", type=float, default=20.0, help="dispatches a second")
    parser.add_argument("--tries", type=int, default=12)
    parser.add_argument("--idle-s", type=float, default=20.0)
    parser.add_argument("--no-peers", action="store_true", help="neither labgrid nor Flower")
    parser.add_argument("--strict", action="store_true", help="end with 1 when a goal is missed")
    parser.add_argument("--json", metavar="FILE", help="all figures, too")
    given = parser.parse_args()
    raise_file_limit()
    sizes = sorted({given.agents, given.more})
    plan = Plan(sizes, given.dispatches, given.rate, given.tries, given.idle_s)
    found = Figures()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fleetmark-bench-") as scratch:
        folder = Path(scratch)
        print_step(f"bare grpc.aio: {' and '.join(map(str, sizes))} streams")
        found.bare = measure_bare(plan, folder / "bare")
        measure_fleetmark(plan, folder / "ours", found)
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
    """Measure labgrid and Flower with the same work."""
    labgrid = fleet_peers.environment("labgrid", print_step)
    flower = fleet_peers.environment("flower", print_step)
    print_step(f"labgrid: {count} exporters")
    found.labgrid_s = fleet_peers.labgrid_visible_s(labgrid, count, PROCESSES, folder / "labgrid")
    print_step("Flower: submit to first result")
    found.flower_s = fleet_peers.flower_first_result_s(flower, 3, folder / "flower")


if __name__ == "__main__":
    sys.exit(main())
