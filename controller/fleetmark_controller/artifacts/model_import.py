"""Generate the component of an operator's own model from the metadata in its file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.artifacts.model_check import FORMATS, check_model
from fleetmark_controller.artifacts.model_graph import Tensor
from fleetmark_core.errors import ErrorKind, FleetmarkError

_DTYPES = ("float32", "int64", "int32", "int8", "uint8")
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


def component_of(file: Path, sha256: str, wanted: ImportRequest) -> tuple[str, str]:
    """Return the name and the `component.toml` of the model in `file`, which is in the blob store.

    Raises:
        FleetmarkError: UNKNOWN_WORD: the name is not valid, or no runtime reads the format.
            BAD_DOCUMENT: the file is not such a model.
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
    name = wanted.name or _NOT_A_NAME.sub("-", Path(wanted.file_name).stem.lower()).strip("-._")
    if not name or _NOT_A_NAME.search(name) or not name[0].isalnum() or len(name) > 80:
        what = f"{name[:80]!r} is not a valid component name"
        raise FleetmarkError(
            ErrorKind.UNKNOWN_WORD, what, "--name", "Use lowercase letters, digits, dots and dashes"
        )
    first = model.inputs[0] if model.inputs else None
    if first is None:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, "the model has no input", wanted.file_name)
    form = ending[1:]
    precision = wanted.precision or _precision(first)
    lines = [
        'kind = "model"',
        f"name = {_text(name)}",
        'version = "1.0"',
        f"title = {_text(wanted.title or f'Imported from {wanted.file_name}')}",
        'tags = ["imported"]',
        f"license = {_text(wanted.license or 'unknown')}",
        "",
        "[model]",
        f"task = {_text(wanted.task or 'speed')}",
        f"precision = {_text(precision)}",
        f"format = {_text(form)}",
        f"input = {_table(first, batched=True)}",
        f"output = {_table(model.outputs[0], batched=True, output=True)}",
    ]
    if len(model.inputs) > 1:
        lines.append(f"# The graph has {len(model.inputs)} inputs: write the others as constants.")
    for group, word in (("precision", precision), ("format", form)):
        lines += ["", f"[variations.{word}]", f"group = {_text(group)}", "default = true"]
        lines += [f"tags = [{_text(word)}]", f"set = {{ {group} = {_text(word)} }}"]
    lines += [
        "",
        "[[artifacts]]",
        f"name = {_text(f'{name}{ending}')}",
        'role = "model"',
        f"sha256 = {_text(sha256)}",
        f"size_bytes = {file.stat().st_size}",
        "",
        "# The import stored the file in the controller's blob store.",
        "[[artifacts.locations]]",
        f"provided = {_text(f'import {Path(wanted.file_name).name} again')}",
        f"size_bytes = {file.stat().st_size}",
    ]
    return name, "\n".join(lines) + "\n"


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


def _precision(tensor: Tensor) -> str:
    return {"int8": "int8", "uint8": "int8", "float16": "fp16"}.get(tensor.dtype, "fp32")


def _table(tensor: Tensor, batched: bool, output: bool = False) -> str:
    shape: Sequence[int] = tensor.shape[1:] if batched and len(tensor.shape) > 1 else tensor.shape
    parts = [f"name = {_text(_plain(tensor.name))}"] if tensor.name else []
    # A dimension without a fixed size accepts any size; size one works for every model.
    if shape:
        parts.append(f"shape = [{', '.join(str(max(1, size)) for size in shape)}]")
    if output and len(shape) == 1 and shape[0] > 0:
        parts.append(f"classes = {shape[0]}")
    if tensor.dtype in _DTYPES and tensor.dtype != "float32":
        parts.append(f'dtype = "{tensor.dtype}"')
    return f"{{ {', '.join(parts)} }}"


def _plain(name: str) -> str:
    return "".join(letter for letter in name if letter.isprintable())[:400]


def _text(value: str) -> str:
    # A JSON string of printable characters is also a TOML string.
    return json.dumps(_plain(value), ensure_ascii=False)
