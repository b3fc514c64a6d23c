"""The benchmark tools of runtimes: command lines, and the latency in their output.

Flags and output are those of `onnxruntime_perf_test` (onnxruntime/test/perftest) and of TFLite's
`benchmark_model` (tensorflow/lite/tools/benchmark). Both give the model random inputs.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_harness.adapters import Adapter
from fleetmark_harness.exit_codes import one_line
from fleetmark_harness.job import JobSpec

P50, MEAN = "p50", "mean"
ORT_TOOL, TFLITE_TOOL = "onnxruntime_perf_test", "benchmark_model"
_TOOLS = {"onnxruntime": ORT_TOOL, "tflite": TFLITE_TOOL}
_LEVELS = {"disabled": 0, "basic": 1, "extended": 2, "all": 99}
_NUMBER = r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
_ORT_P50 = re.compile(rf"^P50 Latency:\s*{_NUMBER}\s*s\b", re.MULTILINE)
_TFLITE_MEAN = re.compile(rf"Inference \(avg\):\s*{_NUMBER}")
_MAX_OUTPUT = 1 << 20
_SLACK_S = 30.0
"""Time for a tool to load the model, besides its calls."""


class NativeToolUnavailable(Exception):
    """Raised if a tool does not measure what the run measured; the message is the reason."""


@dataclass(frozen=True)
class NativeTool:
    """A tool that the agent detected. `version` is empty if the tool does not report it."""

    name: str
    path: str
    version: str
    statistic: str


def choose_tool(job: JobSpec, adapter: Adapter, batch_size: int) -> NativeTool:
    """Return the tool of the job's runtime.

    Raises:
        NativeToolUnavailable: the runtime has no tool, the agent did not detect it, or it would
            not measure the same configuration.
    """
    runtime = str(job.table("runtime").get("name"))
    name = _TOOLS.get(runtime)
    if name is None:
        raise NativeToolUnavailable(f"no tool of runtime {runtime} is known")
    entry = job.software.get(name)
    if entry is None:
        raise NativeToolUnavailable(f"the agent did not detect {name} on the device")
    if batch_size != 1:
        raise NativeToolUnavailable(f"{name} measures single samples, not batches of {batch_size}")
    if job.table("model").get("constants"):
        raise NativeToolUnavailable(f"{name} would give random values to the constant inputs")
    if runtime == "onnxruntime" and 0 in adapter.input_shape:
        raise NativeToolUnavailable(f"{name} would use size 1 for the open sizes of the input")
    if getattr(adapter, "is_resized", False):
        raise NativeToolUnavailable(f"{name} would not resize the input as the run does")
    if job.parameters.get("execution_provider", "cpu") != "cpu":
        raise NativeToolUnavailable(f"{name} is used for the execution provider cpu only")
    statistic = P50 if name == ORT_TOOL else MEAN
    return NativeTool(name, str(entry["path"]), str(entry.get("version", "")), statistic)


def tool_command(
    tool: NativeTool, model: Path, parameters: Mapping[str, Any], calls: int
) -> list[str]:
    """Return the command line that measures `calls` inferences with the parameters of a job."""
    threads = int(parameters.get("threads", 1))
    if tool.name == TFLITE_TOOL:
        xnnpack = "true" if parameters.get("xnnpack", True) else "false"
        return [
            *(tool.path, f"--graph={model}", f"--num_threads={threads}"),
            *(f"--use_xnnpack={xnnpack}", f"--num_runs={calls}", "--min_secs=0"),
            *("--warmup_runs=5", "--warmup_min_secs=0.05"),
        ]
    level = _LEVELS.get(str(parameters.get("graph_optimization", "all")), 99)
    switches = [
        *(["-P"] if parameters.get("execution_mode") == "parallel" else []),
        *([] if parameters.get("cpu_mem_arena", True) else ["-A"]),
        *([] if parameters.get("mem_pattern", True) else ["-M"]),
    ]
    return [
        *(tool.path, "-I", "-e", "cpu", "-m", "times", "-r", str(calls), "-x", str(threads)),
        *("-y", str(int(parameters.get("inter_op_threads", 1))), "-o", str(level), *switches),
        *("-s", str(model)),
    ]


def read_latency_ns(tool: NativeTool, output: str) -> float:
    """Return the latency of an inference in the output of a tool.

    Raises:
        NativeToolUnavailable: the output has no latency above 0.
    """
    pattern, factor = (_TFLITE_MEAN, 1e3) if tool.name == TFLITE_TOOL else (_ORT_P50, 1e9)
    found = pattern.search(output)
    value = float(found.group(1)) * factor if found else 0.0
    if not 0 < value < 1e13:
        raise NativeToolUnavailable(f"the output of {tool.name} has no latency")
    return value


def run_tool(
    tool: NativeTool, model: Path, parameters: Mapping[str, Any], calls: int, expected_s: float
) -> float:
    """Run a tool once and return the latency of an inference in nanoseconds.

    Args:
        tool: the tool.
        model: the model file.
        parameters: the parameters of the job.
        calls: number of inferences.
        expected_s: expected time of these inferences; after ten times this time, and time to load
            the model, the tool is ended.

    Raises:
        NativeToolUnavailable: it does not run, fails, or prints no latency.
    """
    command = tool_command(tool, model, parameters, calls)
    # The libraries of the job's packages are not those of the tool.
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=10 * expected_s + _SLACK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeToolUnavailable(f"{tool.name} does not run: {one_line(error)}") from error
    output = done.stdout[-_MAX_OUTPUT:].decode(errors="replace")
    if done.returncode != 0:
        lines = output.strip().splitlines()
        last = f": {lines[-1][:200]}" if lines else ""
        raise NativeToolUnavailable(f"{tool.name} ended with exit code {done.returncode}{last}")
    return read_latency_ns(tool, output)
