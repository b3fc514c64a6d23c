"""Baselines for a fleet: a bare grpc.aio server with bare clients, and a job's bare program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from certificate import write_certificate
from fleet_children import (
    PROCESSES,
    Child,
    ClientProcesses,
    Pace,
    Phase,
    resident_mib,
    shares,
    targets,
)
from fleet_figures import Plan, Size
from lab import free_port

from fleetmark_protos.channel import SERVER_NAME

HERE = Path(__file__).parent


def measure_bare(plan: Plan, folder: Path) -> dict[int, Size]:
    """Measure a bare server with as many bare clients as simulated agents."""
    import grpc

    from fleetmark_protos.channel import client_options

    folder.mkdir()
    certificate, key = write_certificate(folder, SERVER_NAME)
    port, program = free_port(), HERE / "baseline_fleet_server.py"
    server = Child([sys.executable, program, "server", port, folder], folder / "server.log")
    parts = shares(max(plan.sizes), PROCESSES)
    firsts = [sum(parts[:n]) for n in range(PROCESSES)]
    clients = [
        Child([sys.executable, program, "clients", port, first, part, folder], folder / "c.log")
        for first, part in zip(firsts, parts, strict=True)
    ]
    found = {}
    with ClientProcesses([server]) as only, ClientProcesses(clients) as clients_open:
        only.ready()
        clients_open.ready()
        pem = certificate.read_bytes()
        credentials = grpc.ssl_channel_credentials(pem, key.read_bytes(), pem)
        pids = (server.process.pid, [child.process.pid for child in clients])
        with grpc.secure_channel(
            f"127.0.0.1:{port}", credentials, options=client_options()
        ) as channel:
            push: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/b/push")
            for size in plan.sizes:
                figures = found[size] = Size()
                with Phase(figures.connect, *pids):
                    began = clients_open.dial(size)
                figures.visible_s = clients_open.last - began
                with Phase(figures.idle, *pids):
                    time.sleep(plan.idle_s)
                figures.server_mib = resident_mib(server.process.pid)
                pace = Pace(plan.rate)
                with Phase(figures.work, *pids):
                    for place, number in targets(size, firsts, plan.dispatches):
                        pace.wait()
                        began = time.monotonic()
                        push(str(number).encode())
                        reported = float(clients[place].expect("accepted")[1])
                        figures.dispatch_ms.append(1000 * (reported - began))
                clients_open.leave()
    return found


def bare_child_s(folder: Path, tries: int) -> list[float]:
    """Return the seconds of each run of the no-op program, started without Fleetmark."""
    from tests.support import noop_benchmark as toy

    program = folder / "catalog" / "program" / "toy"
    found = []
    for number in range(tries):
        # The program's marks identify the device by this path.
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
