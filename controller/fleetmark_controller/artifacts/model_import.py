"""Generate the component of an operator's own model from the metadata in its file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fleetmark_controller.artifacts.import_plan import (
    ImportPlan,
    PlannedInput,
    PlannedOutput,
    plan_import,
)
from fleetmark_controller.artifacts.model_check import FORMATS, check_model
from fleetmark_controller.artifacts.model_graph import printable
from fleetmark_controller.artifacts.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.runtime_limits import OnnxLimit, required_version
from fleetmark_core.errors import ErrorKind, FleetmarkError

_NOT_A_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True)
class ImportRequest:
    """Properties that the operator gave for a model.

    An empty name or title is derived from the file's name, the other empty ones from the model or
    from defaults.
    """

    file_name: str
    name: str = ""
    title: str = ""
    license: str = ""
    task: str = ""
    precision: str = ""
    shapes: tuple[str, ...] = ()
    """Values of `--shape`."""
    inputs: tuple[str, ...] = ()
    """Values of `--input`."""


@dataclass(frozen=True)
class ImportedModel:
    """The component of a model, and what was decided about it."""

    name: str
    toml: str
    """Text of the component.toml, with version `FIRST_VERSION`."""
    plan: ImportPlan

    def with_version(self, version: str) -> str:
        """Return the text of the component.toml with another version."""
        # The lines before hold the kind and a name without spaces.
        return self.toml.replace(f'version = "{FIRST_VERSION}"', f'version = "{version}"', 1)


def plan_of(file: Path, wanted: ImportRequest) -> tuple[ImportPlan, OnnxLimit | None]:
    """Return the plan for the model in `file`, and the versions of ONNX that it needs.

    Raises:
        FleetmarkError: UNKNOWN_WORD: no runtime reads the format. USAGE: a shape or range must be
            given. BAD_DOCUMENT: the file is not such a model, or no job can run it.
        OSError: the file cannot be read.
    """
    ending = Path(wanted.file_name).suffix.lower()
    if ending not in FORMATS:
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD,
            f"cannot import a model with the file name ending {ending or '(none)'}",
            wanted.file_name,
            f"Supported endings: {', '.join(FORMATS)}",
        )
    model = check_model(file, wanted.file_name)
    assert model is not None
    needed = (
        OnnxLimit(model.ir_version, model.opset) if isinstance(model, OnnxDescription) else None
    )
    try:
        plan = plan_import(model, wanted.shapes, wanted.inputs)
    except FleetmarkError as error:
        where = ": ".join(filter(None, (wanted.file_name, error.where)))
        raise FleetmarkError(error.kind, error.what, where, error.next_step) from error
    return plan, needed


def component_of(
    file: Path,
    sha256: str,
    wanted: ImportRequest,
    limits: Mapping[str, OnnxLimit],
) -> ImportedModel:
    """Return the component of the model in `file`, which is in the blob store.

    Args:
        file: the model.
        sha256: its digest.
        wanted: properties that the operator gave.
        limits: what each version of ONNX Runtime in the catalog can run, the default first; empty
            if that is not known.

    Raises:
        FleetmarkError: as `plan_of`; also UNKNOWN_WORD: the name is not valid; NOTHING_FITS: no
            version of the runtime can run the model.
        OSError: the file cannot be read.
    """
    plan, needed = plan_of(file, wanted)
    name = wanted.name or _NOT_A_NAME.sub("-", Path(wanted.file_name).stem.lower()).strip("-._")
    if not name or _NOT_A_NAME.search(name) or not name[0].isalnum() or len(name) > 80:
        what = f"{name[:80]!r} is not a valid component name"
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD, what, "--name", "Use lowercase letters, digits, dots and dashes"
        )
    runtime = required_version(needed, limits, wanted.file_name) if needed else ""
    if runtime:
        note = f"the model needs onnxruntime {runtime} or newer, which its jobs use"
        plan = replace(plan, notes=(*plan.notes, note))
    plan = replace(plan, precision=wanted.precision or plan.precision)
    ending = Path(wanted.file_name).suffix.lower()
    text = _component(plan, name, ending, wanted, runtime)
    size_bytes = file.stat().st_size
    lines = [
        "",
        "[[artifacts]]",
        f"name = {_text(f'{name}{ending}')}",
        'role = "model"',
        f"sha256 = {_text(sha256)}",
        f"size_bytes = {size_bytes}",
        "",
        "# The import stored the file in the controller's blob store.",
        "[[artifacts.locations]]",
        f"provided = {_text(f'import {Path(wanted.file_name).name} again')}",
        f"size_bytes = {size_bytes}",
    ]
    return ImportedModel(name, "\n".join([*text, *lines]) + "\n", plan)


def _component(
    plan: ImportPlan, name: str, ending: str, wanted: ImportRequest, runtime: str
) -> list[str]:
    form = ending[1:]
    lines = [
        'kind = "model"',
        f"name = {_text(name)}",
        f'version = "{FIRST_VERSION}"',
        f"title = {_text(wanted.title or f'Imported from {wanted.file_name}')}",
        'tags = ["imported"]',
        f"license = {_text(wanted.license or 'unknown')}",
    ]
    if runtime:
        lines += ["", "[[requires]]", 'role = "runtime"', 'component = "package/onnxruntime"']
        lines += [f'version = ">={runtime}"']
    lines += [
        "",
        "[model]",
        f"task = {_text(wanted.task or 'speed')}",
        f"precision = {_text(plan.precision)}",
        f"format = {_text(form)}",
        f"input = {_sample_table(plan.sample, plan.fixed_batch)}",
    ]
    if plan.constants:
        lines += ["# All other inputs, which have the same values for each sample."]
        lines += ["constants = [", *(f"  {_constant_table(one)}," for one in plan.constants), "]"]
    lines += [f"output = {_output_table(plan.outputs[0])}"]
    for group, word in (("precision", plan.precision), ("format", form)):
        lines += ["", f"[variations.{_text(word)}]", f"group = {_text(group)}", "default = true"]
        lines += [f"tags = [{_text(word)}]", f"set = {{ {group} = {_text(word)} }}"]
    return lines


FIRST_VERSION = "1.0"
"""Version of an imported component until it is replaced."""

SPEED = (("program", "raw-tensors"), ("dataset", "random-tensors"))
"""Components that the benchmark of an imported model requires besides the model."""

_BENCHMARK = """
[benchmark]
task = "speed"
modes = ["performance"]

[benchmark.scenarios]
SingleStream = { metric = "latency_p90_ms" }
Offline = { metric = "throughput_samples_per_s" }

[benchmark.profiles.quick]
submittable = false
timeout_s = 600
warmup_ms = 100
calibration_ms = 200
SingleStream = { min_duration_ms = 1000, min_query_count = 10 }
Offline = { min_duration_ms = 1000, min_query_count = 1 }

[benchmark.profiles.valid]
submittable = false
timeout_s = 7200
warmup_ms = 2000
calibration_ms = 5000
SingleStream = { min_duration_ms = 600000, min_query_count = 100 }
Offline = { min_duration_ms = 600000, min_query_count = 1, min_sample_count = 24576 }
"""


def benchmark_of(name: str) -> str:
    """Return the `component.toml` of a benchmark that measures the speed of model `name`."""
    lines = [
        'kind = "benchmark"',
        f"name = {_text(name)}",
        'version = "1.0"',
        f"title = {_text(f'Speed of the imported model {name}')}",
        'tags = ["imported", "speed"]',
        'license = "Apache-2.0"',
    ]
    for kind, component in (("model", name), *SPEED):
        lines += [
            "",
            "[[requires]]",
            f'role = "{kind}"',
            f"component = {_text(f'{kind}/{component}')}",
        ]
    return "\n".join(lines) + "\n" + _BENCHMARK


def _sample_table(entry: PlannedInput, fixed_batch: int) -> str:
    axis = entry.shape.batch_axis
    sizes = [size for place, size in enumerate(entry.shape.sizes) if place != axis]
    parts = [f"name = {_text(entry.name)}", f"shape = {sizes}"]
    if entry.dtype != "float32":
        parts.append(f'dtype = "{entry.dtype}"')
    if entry.values is not None:
        parts.append(f"range = [{entry.values.low}, {entry.values.high}]")
    if fixed_batch:
        parts.append(f"batch = {fixed_batch}")
    return f"{{ {', '.join(parts)} }}"


def _constant_table(entry: PlannedInput) -> str:
    assert entry.values is not None
    parts = [f"name = {_text(entry.name)}", f"shape = {list(entry.shape.sizes)}"]
    parts += [f'dtype = "{entry.dtype}"', f"value = {entry.values.low}"]
    if entry.shape.batch_axis is not None:
        parts.append(f"batch_axis = {entry.shape.batch_axis}")
    return f"{{ {', '.join(parts)} }}"


def _output_table(output: PlannedOutput) -> str:
    parts = [f"name = {_text(output.name)}"] if output.name else []
    sizes = [size for place, size in enumerate(output.sizes) if place != output.batch_axis]
    # A shape that only a run shows is left out: a placeholder would look like a size.
    if sizes and all(sizes) and output.batch_axis is not None:
        parts.append(f"shape = {sizes}")
        if len(sizes) == 1:
            parts.append(f"classes = {sizes[0]}")
    if output.dtype != "float32":
        parts.append(f'dtype = "{output.dtype}"')
    if output.batch_axis:
        parts.append(f"batch_axis = {output.batch_axis}")
    return f"{{ {', '.join(parts)} }}"


def _text(value: str) -> str:
    # A JSON string of printable characters is also a TOML string.
    return json.dumps(printable(value), ensure_ascii=False)
