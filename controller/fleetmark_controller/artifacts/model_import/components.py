"""Text of the components that an import makes: model, benchmark, and the data set of its values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.artifacts.model_formats.model_graph import printable
from fleetmark_controller.artifacts.model_import.options import ARRAY
from fleetmark_controller.artifacts.model_import.plan import (
    ImportPlan,
    PlannedInput,
    PlannedOutput,
)

FIRST_VERSION = "1.0"
"""Version of an imported component until it is replaced."""
FORMAT_NAMES = {".lite": "tflite"}
"""Format by file name ending, where they differ."""
RANDOM_SAMPLES = 256
"""Equals `samples` of dataset/random-tensors."""
_LOADED_SAMPLES = 64
SPEED = (("program", "raw-tensors"), ("dataset", "random-tensors"))
"""Components that the benchmark of an imported model requires besides the model."""
_TASKS = {
    "f1": "classification",
    "miou": "segmentation",
    **dict.fromkeys(("wer", "cer"), "recognition"),
    **dict.fromkeys(("map", "map50"), "detection"),
    **dict.fromkeys(("mae", "cosine"), "regression"),
}
"""Task by metric; top-K belongs to classification."""
_BENCHMARK = """
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
    batch_axes: tuple[str, ...] = ()
    """Values of `--batch-axis`."""
    metric: str = ""
    """Metric of the samples' labels, such as `top-1`; empty without labels."""


@dataclass(frozen=True)
class StoredFile:
    """A file in the blob store."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class DatasetFit:
    """How the samples of a data set become values of the input."""

    layout: str = ""
    scale: float = 1.0


@dataclass(frozen=True)
class Footprint:
    """Memory that a trial measured, with the number of samples per call."""

    peak_memory_bytes: int
    batch: int = 1


def model_text(
    plan: ImportPlan,
    name: str,
    wanted: ImportRequest,
    files: Sequence[StoredFile],
    *,
    runtime: str = "",
    fit: DatasetFit | None = None,
    footprint: Footprint | None = None,
) -> str:
    """Return the `component.toml` of a model, with version `FIRST_VERSION`.

    Args:
        plan: inputs, outputs and precision.
        name: name of the component.
        wanted: properties that the operator gave.
        files: the model, and the files beside it that hold its weights.
        runtime: oldest version of onnxruntime that runs the model; empty if the default one does.
        fit: how the samples of a data set become values of the input, if they do.
        footprint: memory that a trial measured; None if there was none.
    """
    ending = Path(wanted.file_name).suffix.lower()
    form = FORMAT_NAMES.get(ending, ending[1:])
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
        f"input = {_sample_table(plan.sample, plan.fixed_batch, fit)}",
    ]
    if footprint is not None:
        # On one line: `comparable` drops it, because each measurement differs.
        lines += [
            f"footprint = {{ peak_memory_bytes = {footprint.peak_memory_bytes}, "
            f"batch = {footprint.batch} }}"
        ]
    if plan.constants:
        lines += ["# All other inputs. Only those with a range or an array differ by sample."]
        lines += ["constants = [", *(f"  {_constant_table(one)}," for one in plan.constants), "]"]
    lines += [f"output = {_output_table(plan.outputs[0])}"]
    for group, word in (("precision", plan.precision), ("format", form)):
        lines += ["", f"[variations.{_text(word)}]", f"group = {_text(group)}", "default = true"]
        lines += [f"tags = [{_text(word)}]", f"set = {{ {group} = {_text(word)} }}"]
    for number, file in enumerate(files):
        # Files whose roles begin with the same word are in one folder of a job.
        role = f"model.{number}" if number else "model"
        shown = file.name if number else f"{name}.{form}"
        lines += _artifact_lines(shown, role, file, f"import {Path(wanted.file_name).name} again")
    return "\n".join(lines) + "\n"


def _artifact_lines(name: str, role: str, file: StoredFile, how: str) -> list[str]:
    return [
        "",
        "[[artifacts]]",
        f"name = {_text(name)}",
        f"role = {_text(role)}",
        f"sha256 = {_text(file.sha256)}",
        f"size_bytes = {file.size_bytes}",
        "",
        "# The import stored the file in the controller's blob store.",
        "[[artifacts.locations]]",
        f"provided = {_text(how)}",
        f"size_bytes = {file.size_bytes}",
    ]


def comparable(text: str) -> str:
    """Return the text of a component without measurements, which differ in each import."""
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith("footprint = ")
    )


def dataset_text(
    plan: ImportPlan, name: str, license_: str, values: StoredFile, labels: str = ""
) -> str:
    """Return the `component.toml` of the data set with the values of a model's inputs.

    `labels` is the name of the array with the labels of the samples; empty for samples
    without labels.
    """
    count = plan.sample_count if plan.sample_count > 1 or plan.sample.rows else RANDOM_SAMPLES
    shape = list(plan.sample.sample_shape)
    lines = [
        'kind = "dataset"',
        f"name = {_text(name)}",
        f'version = "{FIRST_VERSION}"',
        f"title = {_text(f'Values of the inputs of the imported model {name}')}",
        'tags = ["imported"]',
        f"license = {_text(license_ or 'unknown')}",
        "",
        "[dataset]",
        'layout = "tensors"',
        f"samples = {count}",
        f"performance_samples = {min(count, _LOADED_SAMPLES)}",
        "seed = 1",
        *([f"shape = {shape}"] if shape else []),
        *([f"labels = {_text(labels)}"] if labels else []),
        *_artifact_lines(values.name, "dataset", values, f"import the model {name} again"),
    ]
    return "\n".join(lines) + "\n"


def benchmark_text(name: str, dataset: str = SPEED[1][1], metric: str = "") -> str:
    """Return the `component.toml` of a benchmark that measures the speed of model `name`.

    With a metric, it also measures the accuracy.
    """
    what = "Speed and accuracy" if metric else "Speed"
    lines = [
        'kind = "benchmark"',
        f"name = {_text(name)}",
        f'version = "{FIRST_VERSION}"',
        f"title = {_text(f'{what} of the imported model {name}')}",
        f'tags = ["imported", "speed"{", " + _text("accuracy") if metric else ""}]',
        'license = "Apache-2.0"',
    ]
    for kind, component in (("model", name), SPEED[0], ("dataset", dataset)):
        lines += [
            "",
            "[[requires]]",
            f'role = "{kind}"',
            f"component = {_text(f'{kind}/{component}')}",
        ]
    lines += [
        "",
        "[benchmark]",
        f"task = {_text(_TASKS.get(metric, 'classification') if metric else 'speed')}",
    ]
    lines += ['modes = ["performance", "accuracy"]' if metric else 'modes = ["performance"]']
    quality = f"\n[benchmark.quality]\nmetric = {_text(metric)}\n" if metric else ""
    return (
        "\n".join(lines)
        + "\n"
        + _BENCHMARK.replace("\n[benchmark.profiles", quality + "\n[benchmark.profiles", 1)
    )


def _sample_table(entry: PlannedInput, fixed_batch: int, fit: DatasetFit | None) -> str:
    parts = [f"name = {_text(entry.name)}", f"shape = {list(entry.sample_shape)}"]
    if entry.dtype != "float32":
        parts.append(f'dtype = "{entry.dtype}"')
    parts += _value_parts(entry)
    if fit is not None and fit.layout:
        parts.append(f"layout = {_text(fit.layout)}")
    if fit is not None and fit.scale != 1.0:
        parts.append(f"scale = {fit.scale!r}")
    if fixed_batch:
        parts.append(f"batch = {fixed_batch}")
    return f"{{ {', '.join(parts)} }}"


def _value_parts(entry: PlannedInput) -> list[str]:
    values = entry.values
    if values is None:
        return []
    if values.kind == ARRAY:
        return [f"array = {_text(values.source)}"]
    if values.kind == "normal":
        return [f"normal = [{values.low}, {values.high}]"]
    if values.is_stored:
        return []
    return [f"range = [{values.low}, {values.high}]"]


def _constant_table(entry: PlannedInput) -> str:
    assert entry.values is not None
    parts = [f"name = {_text(entry.name)}", f"shape = {list(entry.shape.sizes)}"]
    parts.append(f'dtype = "{entry.dtype}"')
    parts += [f"value = {entry.values.low}"] if entry.values.is_constant else _value_parts(entry)
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
