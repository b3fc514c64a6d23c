"""The result of a trial, and what it shows about a model. Pure."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from fleetmark_controller.artifacts.model_import.components import Footprint
from fleetmark_controller.artifacts.model_import.plan import ImportPlan, PlannedOutput
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.resource_model import size

SKIP = "Give --no-trial to import it without running it"
_MEBIBYTE = 1 << 20
_MAX_AXES = 64
# Exit codes of fleetmark_harness.exit_codes.
_BAD_JOB, _BAD_INPUT, _NO_RUNTIME, _NO_MEMORY, _FAULT = 10, 11, 12, 14, 1


class ExceededLimit(Enum):
    """The limit for which a trial was killed."""

    TIME = "time"
    DISK = "disk"


@dataclass(frozen=True)
class TriedOutput:
    """An output as the run produced it."""

    dtype: str
    shape: tuple[int, ...]
    nonfinite: bool


@dataclass(frozen=True)
class TrialOutcome:
    """The measurements of a trial, or the reason why the model was not tried."""

    not_tried: str = ""
    runtime: str = ""
    runtime_version: str = ""
    load_ms: float = 0.0
    first_ms: float = 0.0
    run_ms: float = 0.0
    peak_memory_bytes: int = 0
    samples_per_call: int = 1
    outputs: tuple[TriedOutput, ...] = ()

    @property
    def footprint(self) -> Footprint | None:
        """The memory that the model's component declares; None without a measurement."""
        if not self.peak_memory_bytes:
            return None
        # Rounded up, because the last kilobytes differ in each run.
        rounded = -(-self.peak_memory_bytes // _MEBIBYTE) * _MEBIBYTE
        return Footprint(rounded, self.samples_per_call)


@dataclass(frozen=True)
class EndedChild:
    """How the child process of a trial ended."""

    code: int
    """Exit code; negative: the number of the signal."""
    output: str
    errors: Sequence[str]
    """The lines on standard error."""
    stopped_for: ExceededLimit | None
    limit_s: float
    memory_bytes: int
    disk_bytes: int


def outcome_of(child: EndedChild, where: str, shapes: Sequence[str] = ()) -> TrialOutcome:
    """Return the outcome of a trial.

    Args:
        child: how its process ended.
        where: name of the model's file, for errors.
        shapes: the shapes of `--shape`, of which the model may need others.

    Raises:
        FleetmarkError: BAD_DOCUMENT: the model does not run; the text gives the whole cause.
    """
    last = child.errors[-1] if child.errors else ""
    cause = last.removeprefix("fleetmark: trial failed: ").removeprefix("the model does not run: ")
    if child.stopped_for is ExceededLimit.TIME:
        raise _refused_error(f"did not finish within {child.limit_s:.0f} s", where)
    if child.stopped_for is ExceededLimit.DISK:
        raise _refused_error(f"wrote more than {size(child.disk_bytes)} of files", where)
    if child.code < 0:
        name = _signal_name(-child.code)
        more = f": {last[:400]}" if last else ""
        if -child.code == signal.SIGKILL:
            what = f"was killed ({name}), which is how the kernel ends a process without memory"
            raise _refused_error(f"{what}; the trial may use {size(child.memory_bytes)}", where)
        raise _refused_error(f"crashes the runtime with {name}{more}", where)
    if child.code == _NO_MEMORY:
        raise _refused_error(
            f"runs out of memory: the trial may use {size(child.memory_bytes)} ({cause})", where
        )
    if child.code in (_BAD_INPUT, _FAULT):
        raise _refused_error(f"does not run: {cause}", where, shapes)
    if child.code != 0:
        return TrialOutcome(not_tried=cause or f"the trial ended with exit code {child.code}")
    try:
        return _read(child.output)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        return TrialOutcome(not_tried=f"the trial printed no valid result: {error}"[:300])


def _refused_error(what: str, where: str, shapes: Sequence[str] = ()) -> FleetmarkError:
    # A file does not say which sizes of its open dimensions fit its graph.
    other = f"The model may need another shape than {', '.join(shapes)}. " if shapes else ""
    return FleetmarkError(ErrorKind.BAD_DOCUMENT, f"the model {what}", where, other + SKIP)


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name}, signal {number}"
    except ValueError:
        return f"signal {number}"


def _read(output: str) -> TrialOutcome:
    # The child runs code of the runtime on an unknown model: nothing in its output is trusted.
    values: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    runtime = values["runtime"]
    outputs = []
    for entry in values["outputs"][:1000]:
        shape = tuple(int(axis) for axis in entry["shape"][:_MAX_AXES])
        if any(not 0 <= axis < 1 << 32 for axis in shape):
            raise ValueError("an output has an invalid shape")
        outputs.append(TriedOutput(str(entry["dtype"])[:40], shape, bool(entry["nonfinite"])))
    peak = int(values["peak_memory_bytes"])
    per_call = int(values["samples_per_call"])
    load_ms, first_ms, run_ms = (float(values[key]) for key in ("load_ms", "first_ms", "run_ms"))
    is_sound = all(0 <= each < 1e12 for each in (load_ms, first_ms, run_ms))
    if not is_sound or not 0 < peak < 1 << 50 or not 0 < per_call < 1 << 31:
        raise ValueError("a measurement is out of range")
    return TrialOutcome(
        runtime=str(runtime["name"])[:80],
        runtime_version=str(runtime["version"])[:40],
        load_ms=load_ms,
        first_ms=first_ms,
        run_ms=run_ms,
        peak_memory_bytes=peak,
        samples_per_call=per_call,
        outputs=tuple(outputs),
    )


def tried_plan(plan: ImportPlan, outcome: TrialOutcome) -> ImportPlan:
    """Return the plan with the sizes of outputs that the run showed, and notes about them."""
    if len(outcome.outputs) != len(plan.outputs):
        return plan
    pairs = list(zip(plan.outputs, outcome.outputs, strict=True))
    outputs = tuple(_sized(output, found) for output, found in pairs)
    notes = tuple(
        f"output {output.name} has NaN or infinite values for the values of the trial"
        for output, found in pairs
        if found.nonfinite
    )
    return replace(plan, outputs=outputs, notes=(*plan.notes, *notes))


def _sized(output: PlannedOutput, found: TriedOutput) -> PlannedOutput:
    """Return an output with the sizes of the run, for those that the file leaves open."""
    if output.sizes and len(output.sizes) != len(found.shape):
        return output
    sizes = output.sizes or (0,) * len(found.shape)
    return replace(
        output,
        sizes=tuple(size or seen for size, seen in zip(sizes, found.shape, strict=True)),
    )
