"""The figures of the fleet bench, and its table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

WATCHERS = 100


@dataclass(frozen=True)
class Plan:
    """The extent of the measurement."""

    sizes: list[int]
    dispatches: int
    rate: float
    """Dispatches per second."""
    tries: int
    idle_s: float


@dataclass
class Spent:
    """CPU seconds of a server and of its clients, which run on the same cores."""

    wall_s: float = 0.0
    server_s: float = 0.0
    clients_s: float = 0.0


@dataclass
class Size:
    """Figures of one fleet size."""

    visible_s: float = 0.0
    connect: Spent = field(default_factory=Spent)
    idle: Spent = field(default_factory=Spent)
    work: Spent = field(default_factory=Spent)
    dispatch_ms: list[float] = field(default_factory=list)
    """From the job being ready to run to the order at its agent."""
    submit_ms: list[float] = field(default_factory=list)
    """From the call of Submit to the order at the agent."""
    server_mib: float = 0.0

    @property
    def server_cores(self) -> float:
        """Return the cores that the server uses while its clients only send heartbeats."""
        return self.idle.server_s / self.idle.wall_s

    @property
    def clients_cores(self) -> float:
        """Return the cores that all clients use in that time."""
        return self.idle.clients_s / self.idle.wall_s

    @property
    def dispatch_cpu_ms(self) -> float:
        """Return the server's CPU milliseconds per dispatch, without its load when idle."""
        extra_s = self.work.server_s - self.server_cores * self.work.wall_s
        return 1000 * extra_s / max(1, len(self.dispatch_ms))


@dataclass
class Figures:
    """All figures: of Fleetmark, of the baseline and of the peers."""

    fleetmark: dict[int, Size] = field(default_factory=dict)
    bare: dict[int, Size] = field(default_factory=dict)
    first_s: list[float] = field(default_factory=list)
    cold_s: float = 0.0
    child_s: list[float] = field(default_factory=list)
    command_s: list[float] = field(default_factory=list)
    line_s: list[float] = field(default_factory=list)
    """From a line written by a job to the reader of its log."""
    watched_cores: float = 0.0
    labgrid_s: float | None = None
    flower_s: list[float] = field(default_factory=list)


def percentile(values: list[float], share: float) -> float:
    """Return the value at the given share of the sorted values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Row:
    """A line of the table: figures of the same unit, and the goal."""

    what: str
    fleetmark: float
    floor: float | None = None
    peer: float | None = None
    peer_name: str = ""
    digits: int = 2
    goal: str = ""
    met: bool | None = None

    def cells(self) -> list[str]:
        """Return the cells as text, including ratios to Fleetmark's figure."""

        def shown(value: float | None) -> str:
            return "–" if value is None else f"{value:.{self.digits}f}"

        def ratio(value: float | None, by: float | None) -> str:
            return "–" if value is None or not by or by < 1e-3 else f"{value / by:.2f}"

        peer = f"{shown(self.peer)} {self.peer_name}".strip()
        met = "–" if self.met is None else "yes" if self.met else "MISSED"
        return [
            self.what,
            shown(self.fleetmark),
            shown(self.floor),
            ratio(self.fleetmark, self.floor),
            peer,
            ratio(self.peer, self.fleetmark),
            self.goal or "–",
            met,
        ]


HEADS = ("", "ours", "floor", "ours/floor", "peer", "peer/ours", "goal", "met")


def rows(found: Figures) -> list[Row]:
    """Return the table's rows: the figures with their goals."""
    table_rows = []
    for size, fleetmark in found.fleetmark.items():
        table_rows += _of_size(found, size, fleetmark, found.bare[size])
    first, child = statistics.median(found.first_s), statistics.median(found.child_s)
    flower = statistics.median(found.flower_s) if found.flower_s else None
    table_rows += [
        Row("submit to first result, s", first, child, goal="< 0.3", met=first < 0.3, digits=3),
        Row("… the slowest of them", max(found.first_s), max(found.child_s), digits=3),
        Row("… the very first on this agent", found.cold_s, child, digits=3),
        Row(
            "… by command, s",
            statistics.median(found.command_s),
            None,
            flower,
            "Flower" if flower else "",
            digits=2,
        ),
    ]
    line = max(found.line_s)
    cores = found.watched_cores
    goal = "< 0.1"  # of a core
    table_rows += [
        Row("a line of a job's log, written to shown, s", line, goal="< 1", met=line < 1),
        Row(f"{WATCHERS} watch a job: server, cores", cores, digits=3, goal=goal, met=cores < 0.1),
    ]
    return table_rows


def _of_size(found: Figures, size: int, fleetmark: Size, bare: Size) -> list[Row]:
    smallest, largest = size == min(found.fleetmark), size == max(found.fleetmark)
    peer = found.labgrid_s if smallest else None
    goal, met = "", None
    if smallest:
        goal = "< 2 × floor, < labgrid"
        met = fleetmark.visible_s < 2 * bare.visible_s and (
            peer is None or fleetmark.visible_s < peer
        )
    name = f"{size:,} agents"
    named = "labgrid" if peer else ""
    found_rows = [
        Row(f"{name} visible, s", fleetmark.visible_s, bare.visible_s, peer, named, 2, goal, met),
        Row("… CPU of the server, s", fleetmark.connect.server_s, bare.connect.server_s),
        Row("… CPU of the load generator, s", fleetmark.connect.clients_s, bare.connect.clients_s),
        Row(
            f"{name}: server, cores",
            fleetmark.server_cores,
            bare.server_cores,
            digits=3,
            goal="< 1",
            met=fleetmark.server_cores < 1,
        ),
        Row("… load generator, cores", fleetmark.clients_cores, bare.clients_cores, digits=3),
        Row(f"{name}: server, MiB", fleetmark.server_mib, bare.server_mib, digits=0),
    ]
    for share in (0.5, 0.99):
        value = percentile(fleetmark.dispatch_ms, share)
        goes = share == 0.99 and largest
        found_rows.append(
            Row(
                f"{name}: dispatch p{share * 100:.0f}, ms",
                value,
                percentile(bare.dispatch_ms, share),
                digits=1,
                goal="< 20" if goes else "",
                met=value < 20 if goes else None,
            )
        )
    found_rows += [
        Row(
            f"… from Submit p{share * 100:.0f}, ms",
            percentile(fleetmark.submit_ms, share),
            percentile(bare.dispatch_ms, share),
            digits=1,
        )
        for share in (0.5, 0.99)
    ]
    cpu = (fleetmark.dispatch_cpu_ms, bare.dispatch_cpu_ms)
    return [*found_rows, Row("… CPU of the server for each, ms", *cpu, digits=1)]
