"""Run the demo: controller, agent, default suite, exports."""

from __future__ import annotations

import platform
import shlex
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleetmark_cli import output, tables
from fleetmark_cli.output import echo, heading
from fleetmark_controller.cli import watch
from fleetmark_controller.cli.results import print_results
from fleetmark_controller.client.connection import Client
from fleetmark_controller.client.export import export_view
from fleetmark_controller.demo.processes import SupervisedProcess, program
from fleetmark_controller.home.credential_files import admin_file
from fleetmark_controller.home.endpoint import read_endpoint
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_core.plural import counted
from fleetmark_protos.v1 import admin_pb2, fleet_pb2, jobs_pb2

SUITE = "default"
_START_PATIENCE_S = 60.0
_FILES = {"results.csv": ("csv", "results"), "results.parquet": ("parquet", "results")}


_CONTINUES = "The same command continues campaign {campaign}"


class Demo:
    """Runner of one demo in one folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder` for homes and files; the files of an earlier demo are kept."""
        self.folder = folder
        self.steps: list[tuple[str, float]] = []
        self._agent_home = folder / "agent"
        self._address = ""

    def run(self) -> int:
        """Run the whole demo; return 0 if every run succeeded."""
        self._make_folder()
        children: list[SupervisedProcess] = []
        try:
            with self._step("start the controller"):
                controller = self._keep(
                    "controller",
                    lambda: ("serve", "--home", str(self.folder), "--listen", self._listen()),
                )
                children.append(controller)
                address = self._until(
                    lambda: self._answering(controller.process.pid),
                    controller,
                    "the controller to answer",
                )
                self._address = address
                client = Client(address, str(admin_file(self.folder)))
            with client:
                with self._step("start an agent, which reports this machine's capabilities"):
                    name = platform.node() or "this-machine"
                    agent = self._keep(
                        "agent",
                        lambda: (
                            *("start", "--home", str(self._agent_home)),
                            *("--controller", address, "--name", name),
                        ),
                        {"FLEETMARK_TOKEN": _token(client)},
                    )
                    children.append(agent)
                    device = self._until(lambda: _online(client), agent, "the agent to register")
                self._show_device(device)
                return self._measure(client)
        finally:
            for child in reversed(children):
                child.stop()

    def _measure(self, client: Client) -> int:
        with self._step("submit the default suite (fetches its files the first time)"):
            campaign = _unfinished(client) or _submit(client)
        with self._step("run it"):
            code = watch.watch_campaign(client, campaign, interrupted=_CONTINUES)
        with self._step("export the results"):
            for name, (form, view) in _FILES.items():
                export_view(client, form, self.folder / name, view=view, campaign=campaign)
            export_view(client, "html", self.folder / "report.html", campaign=campaign)
        columns, rows = client.rows(view="results", campaign_id=campaign)
        print_results(columns, list(rows))
        self._show_steps()
        self._show_next(client)
        return code

    # --- parts ----------------------------------------------------------------------------

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FleetmarkError(
                ErrorKind.DISK_FULL,
                f"the folder cannot be created: {error.strerror}",
                str(self.folder),
            ) from error

    def _keep(
        self,
        name: str,
        arguments: Callable[[], Sequence[str]],
        extra: dict[str, str] | None = None,
    ) -> SupervisedProcess:
        path = program(name)
        return SupervisedProcess(
            name,
            lambda: [path, *arguments()],
            self.folder / f"{name}.log",
            lambda text: echo(text, err=True),
            extra,
        )

    def _listen(self) -> str:
        """Return the controller's listening address: the previous one, or one with a free port.

        Another program may take that port first. The controller then exits, and is started with
        another.
        """
        return self._address or f"127.0.0.1:{_free_port()}"

    def _answering(self, pid: int) -> str:
        """Return the address at which the demo's controller answers; empty until it does."""
        address, owner = read_endpoint(self.folder)
        if owner != pid:
            return ""
        try:
            with Client(address, str(admin_file(self.folder))) as client:
                client.call(client.admin.GetInfo, admin_pb2.GetInfoRequest(), timeout_s=2.0)
        except FleetmarkError:
            return ""
        return address

    def _until(self, look: Callable[[], Any], kept: SupervisedProcess, what: str) -> Any:
        """Wait for a child process that was just started to become ready."""
        until = time.monotonic() + _START_PATIENCE_S
        while time.monotonic() < until and not kept.given_up:
            found = look()
            if found:
                return found
            time.sleep(0.05)
        raise FleetmarkError(
            ErrorKind.UNREACHABLE,
            f"timed out waiting for {what}: {kept.last_log_line()}",
            next_step=f"See {self.folder / (kept.name + '.log')}",
        )

    @contextmanager
    def _step(self, what: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        heading(what)
        began = time.monotonic()
        yield
        self.steps.append((what, time.monotonic() - began))

    def _show_device(self, device: fleet_pb2.Device) -> None:
        facts = device.capabilities
        cores = counted(facts.cpu.usable_cores, "core")
        output.print_fields(
            {
                "  device": device.name,
                "  system": f"{facts.os.name} {facts.os.version}, {facts.arch}",
                "  processor": f"{facts.cpu.model or 'unknown'}, {cores}",
                "  memory": f"{facts.memory.total_bytes / 2**30:.1f} GiB",
                "  pythons": ", ".join(i.version for i in facts.interpreters),
                "  tags": " ".join(facts.tags),
            }
        )

    def _show_steps(self) -> None:
        rows = [(what, f"{seconds:.1f} s") for what, seconds in self.steps]
        rows.append(("total", f"{sum(seconds for _, seconds in self.steps):.1f} s"))
        tables.print_table(("step", "time"), rows)

    def _show_next(self, client: Client) -> None:
        del client
        home = _shown(self.folder)
        echo(f"Files in {home}: results.db (the store), results.csv, results.parquet, report.html")
        echo("\nNext, paste these lines into a shell:")
        bin_folder = Path(sys.executable).parent
        controller, agent = _shown(bin_folder / "controller"), _shown(bin_folder / "agent")
        where = f"--controller {self._address}"
        logs = {name: _shown(self.folder / f"{name}.log") for name in ("controller", "agent")}
        for line in (
            f"{controller} serve --home {home} --listen {self._address}"
            f" > {logs['controller']} 2>&1 & CONTROLLER=$!",
            f"until {controller} fleet list {where} > /dev/null 2>&1; do sleep 1; done",
            f"{agent} start --home {_shown(self._agent_home)} > {logs['agent']} 2>&1 & AGENT=$!",
            f"{controller} schedule fashion-mnist --fleet {platform.machine()} --wait {where}",
            "kill $AGENT $CONTROLLER",
        ):
            echo(f"  {line}")


def _shown(path: Path) -> str:
    try:
        path = path.relative_to(Path.cwd())
    except ValueError:
        return shlex.quote(str(path))
    return shlex.quote(str(path))


def _free_port() -> int:
    # These ports are below the range of ephemeral client ports.
    for port in range(20117, 32000, 7):
        # The next port is the enrollment port.
        with socket.socket() as probe, socket.socket() as next_probe:
            try:
                probe.bind(("127.0.0.1", port))
                next_probe.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise FleetmarkError(ErrorKind.ADDRESS_REFUSED, "no free port on 127.0.0.1")


def _token(client: Client) -> str:
    """Return a token that enrolls the demo's device without an operator's approval."""
    request = admin_pb2.CreateTokenRequest(approve=True, ttl_ns=int(_START_PATIENCE_S * 1e9))
    return str(client.call(client.admin.CreateToken, request).token)


def _online(client: Client) -> fleet_pb2.Device | None:
    reply = client.call(client.fleet.ListDevices, fleet_pb2.ListDevicesRequest())
    for device in reply.devices:
        if device.enrollment == "pending":
            # This device was enrolled under the same name before, so it needs an operator's
            # approval.
            client.call(client.fleet.Approve, fleet_pb2.ApproveRequest(name=device.name))
    return next((device for device in reply.devices if device.presence == "online"), None)


def _unfinished(client: Client) -> str:
    """Return a campaign of an interrupted demo, which is continued; empty if there is none."""
    reply = client.call(client.jobs.ListCampaigns, jobs_pb2.ListCampaignsRequest())
    for campaign in reply.campaigns:
        if campaign.state == "running":
            echo(f"Continuing campaign {campaign.campaign_id}, which was interrupted.")
            return str(campaign.campaign_id)
    return ""


def _submit(client: Client) -> str:
    request = jobs_pb2.SubmitRequest(campaign_id=uuid7(), benchmark=SUITE, max_attempts=5)
    for event in client.stream(client.jobs.Submit, request):
        body = event.WhichOneof("body")
        if body == "progress":
            echo(f"  {event.progress}")
        elif body == "result":
            jobs = counted(len(event.result.jobs), "job")
            echo(f"  campaign {event.result.campaign_id}: {jobs}")
    return str(request.campaign_id)
