"""What the fleet bench measured, and its table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Size:
    """Figures of one size of fleet."""

    visible_s: float = 0.0
    dispatch_ms: list[float] = field(default_factory=list)
    server_cores: float = 0.0
    server_mib: float = 0.0


@dataclass
class Figures:
    """All figures: ours, the floor's, the peers'."""

    ours: dict[int, Size] = field(default_factory=dict)
    bare: dict[int, Size] = field(default_factory=dict)
    first_s: list[float] = field(default_factory=list)
    cold_s: float = 0.0
    child_s: list[float] = field(default_factory=list)
    command_s: list[float] = field(default_factory=list)
    labgrid_s: float | None = None
    flower_s: list[float] = field(default_factory=list)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Row:
    """A line of the table: figures of the same unit, and what was wished for."""

    what: str
    ours: float
    floor: float | None = None
    peer: float | None = None
    peer_name: str = ""
    digits: int = 2
    goal: str = ""
    met: bool | None = None

    def cells(self) -> list[str]:
        """As text; ratios to ours."""

        def shown(value: float | None) -> str:
            return "–" if value is None else f"{value:.{self.digits}f}"

        def ratio(value: float | None, by: float | None) -> str:
            return "–" if value is None or not by or by < 1e-3 else f"{value / by:.2f}"

        peer = f"{shown(self.peer)} {self.peer_name}".strip()
        met = "–" if self.met is None else "yes" if self.met else "MISSED"
        return [
            self.what,
            shown(self.ours),
            shown(self.floor),
            ratio(self.ours, self.floor),
            peer,
            ratio(self.peer, self.ours),
            self.goal or "–",
            met,
        ]


HEADS = ("", "ours", "floor", "ours/floor", "peer", "peer/ours", "goal", "met")


def rows(found: Figures) -> list[Row]:
    """What was measured, with the goals."""
    table_rows = []
    for size, ours in found.ours.items():
        bare = found.bare[size]
        peer = found.labgrid_s if size == min(found.ours) else None
        goal, met = "", None
        if size == min(found.ours):
            goal = "< 2 × floor, < labgrid"
            met = ours.visible_s < 2 * bare.visible_s and (peer is None or ours.visible_s < peer)
        name = f"{size:,} agents"
        table_rows += [
            Row(
                f"{name} visible, s",
                ours.visible_s,
                bare.visible_s,
                peer,
                "labgrid" if peer else "",
                2,
                goal,
                met,
            ),
            Row(
                f"{name}: server, cores",
                ours.server_cores,
                bare.server_cores,
                digits=3,
                goal="< 1",
                met=ours.server_cores < 1,
            ),
            Row(f"{name}: server, MiB", ours.server_mib, bare.server_mib, digits=0),
        ]
        for share in (0.5, 0.99):
            value = percentile(ours.dispatch_ms, share)
            last = share == 0.99 and size == max(found.ours)
            table_rows.append(
                Row(
                    f"{name}: dispatch p{share * 100:.0f}, ms",
                    value,
                    percentile(bare.dispatch_ms, share),
                    digits=1,
                    goal="< 20" if last else "",
                    met=value < 20 if last else None,
                )
            )
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
    return table_rows
