"""ONNX Runtime: on the CPU, or on another execution provider that the job's parameters choose."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Opening, constants, first_of, wanted_input
from fleetmark_harness.adapters.fixed_batch import FixedBatch
from fleetmark_harness.adapters.one_by_one import OneByOne
from fleetmark_harness.adapters.options import choice, count, switch
from fleetmark_harness.exit_codes import BAD_INPUT, BAD_JOB, NO_RUNTIME, JobError, one_line
from fleetmark_harness.operators import OperatorEvent, ProfileUnavailable, read_ort_profile

Array = npt.NDArray[Any]

_TYPES = {
    "tensor(bool)": np.bool_,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
}
_OPTIMIZATION = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_EXECUTION = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}
_CPU, _PROVIDER = "CPUExecutionProvider", "ExecutionProvider"
_FALLBACK_REFUSED = "fallback to CPU EP has been explicitly disabled"
_ERRORS = 3
"""Level of the log. A warning of each call, such as that of an output with another shape than the
declared one, would take time in the measurement and fill the disk."""
_MAX_PROFILE_BYTES = 64 << 20
"""Maximum size of ONNX Runtime's own profile, which has about 1 kB per operator and call."""


class OnnxModel:
    """An inference session; samples go to one input, other inputs are constant."""

    def __init__(self, opening: Opening) -> None:
        """Open a session on the execution provider that the options name.

        Raises:
            JobError: BAD_JOB: an option is not valid, or the execution provider is absent or runs
                no operator of the model; NO_RUNTIME: the provider does not start.
        """
        library, model = opening.library, opening.model
        self.version = str(library.__version__)
        wanted = _wanted_provider(library, opening.options)
        began = time.perf_counter_ns()
        self._session = _open_session(library, str(model), wanted, _options(opening, wanted))
        self.load_ns = time.perf_counter_ns() - began
        # Otherwise a provider that fails in a call is replaced by the CPU without notice.
        self._session.disable_fallback()
        self.provider_nodes = _provider_nodes(self._session, wanted)
        self.provider = " + ".join(self.provider_nodes) or wanted
        self._profile_folder = opening.profile_folder
        self.samples_per_call = opening.batch_size
        self.fixed_batch = False
        inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        self.input_name = wanted_input(opening.table, list(inputs), model)
        tensor = inputs[self.input_name]
        if tensor.type not in _TYPES:
            raise JobError(
                BAD_INPUT, f"model {model.name}: input type {tensor.type} is not supported"
            )
        self.dtype: npt.DTypeLike = _TYPES[tensor.type]
        first = tensor.shape[0] if tensor.shape else 0
        self.graph_batch = first if isinstance(first, int) and first > 0 else 0
        """The number of samples per call that the graph fixes; 0 if it leaves it open."""
        self.input_shape = tuple(
            size if isinstance(size, int) and size > 0 else 0 for size in tensor.shape[1:]
        )
        self._table = opening.table
        self._constants = constants(opening.table, opening.batch_size)
        self._outputs = [self._session.get_outputs()[0].name]

    def set_batch_size(self, batch_size: int) -> None:
        """Change the maximum number of samples per call."""
        self.samples_per_call = batch_size
        self._constants = constants(self._table, batch_size)

    def prepare(self, values: Array) -> Array:
        """Return the values unchanged, in the input's type."""
        return np.ascontiguousarray(values, self.dtype)

    def run(self, batch: Array) -> Array:
        """Run the session once and return the first output."""
        feeds = {self.input_name: batch}
        if self._constants:
            feeds.update(self._rest(feeds))
        output: Array = self._session.run(self._outputs, feeds)[0]
        return output

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Run the session once and return all outputs."""
        outputs: list[Array] = self._session.run(None, {**self._rest(feeds), **feeds})
        return outputs

    def operator_calls(self) -> list[list[OperatorEvent]]:
        """End the profile; return the operators of each call since the model was opened.

        Raises:
            ProfileUnavailable: the profile cannot be read, or is too large.
            OSError: the same.
        """
        if self._profile_folder is None:
            raise ProfileUnavailable("the model was not opened for profiling")
        path = Path(self._session.end_profiling())
        size = path.stat().st_size
        if size > _MAX_PROFILE_BYTES:
            raise ProfileUnavailable(
                f"ONNX Runtime's profile has {size} bytes, the limit is {_MAX_PROFILE_BYTES}"
            )
        with path.open("rb") as lines:
            return read_ort_profile(lines)

    def _rest(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        count = len(feeds[self.input_name])
        return {
            name: first_of(value, count)
            for name, value in self._constants.items()
            if name not in feeds
        }


def open_model(opening: Opening) -> OnnxModel | OneByOne | FixedBatch:
    """Open an ONNX model for the batch size, or for the batch that its graph fixes."""
    model = OnnxModel(opening)
    fixed = model.graph_batch
    if fixed in (0, opening.batch_size):
        return model
    if fixed > 1 and opening.table.get("input", {}).get("batch") != fixed:
        # It may be an axis of the sample. Counted as samples, it would multiply the throughput.
        raise JobError(
            BAD_INPUT,
            f"model {opening.model.name}: the first axis of its input is fixed at {fixed}, and its"
            " component does not say that this is the batch; import it again",
        )
    model.set_batch_size(fixed)
    if fixed == 1:
        return OneByOne(model)
    return FixedBatch(model, fixed, opening.table.get("output", {}).get("batch_axis"))


def _options(opening: Opening, provider: str) -> Any:
    """Return the session options.

    Raises:
        JobError: BAD_JOB.
    """
    library, given = opening.library, opening.options
    options = library.SessionOptions()
    options.log_severity_level = _ERRORS
    options.intra_op_num_threads = opening.threads
    options.inter_op_num_threads = count(given, "inter_op_threads", 1)
    level = choice(given, "graph_optimization", _OPTIMIZATION, "all")
    options.graph_optimization_level = getattr(library.GraphOptimizationLevel, level)
    mode = choice(given, "execution_mode", _EXECUTION, "sequential")
    options.execution_mode = getattr(library.ExecutionMode, mode)
    options.enable_cpu_mem_arena = switch(given, "cpu_mem_arena", True)
    options.enable_mem_pattern = switch(given, "mem_pattern", True)
    if provider != _CPU:
        if _reports_assignment(library.InferenceSession):
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        else:
            # This version does not report which operators a provider runs, so a model that it
            # runs only in part is refused.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if opening.profile_folder is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(opening.profile_folder / "onnxruntime")
    return options


def _reports_assignment(session: Any) -> bool:
    return hasattr(session, "get_provider_graph_assignment_info")


def _wanted_provider(library: Any, options: Mapping[str, Any]) -> str:
    """Return ONNX Runtime's name of the execution provider that the options name.

    Raises:
        JobError: BAD_JOB: the runtime on this device does not have it.
    """
    wanted = str(options.get("execution_provider", "cpu"))
    available = {
        str(name).removesuffix(_PROVIDER).lower(): str(name)
        for name in library.get_available_providers()
    }
    if wanted not in available:
        raise JobError(
            BAD_JOB,
            f"onnxruntime {library.__version__} on this device has no execution provider {wanted};"
            f" it has {', '.join(sorted(available))}",
        )
    return available[wanted]


def _open_session(library: Any, model: str, provider: str, options: Any) -> Any:
    """Return a session that uses the execution provider.

    Raises:
        JobError: NO_RUNTIME: the provider does not start; BAD_JOB: it runs only a part of the
            operators, and this version cannot report which.
    """
    try:
        # Without enable_fallback=0, Python opens the session on the CPU if the provider fails.
        session = library.InferenceSession(model, options, providers=[provider], enable_fallback=0)
    except Exception as error:
        if provider == _CPU:
            raise
        if _FALLBACK_REFUSED in str(error):
            raise JobError(
                BAD_JOB,
                f"{provider} does not run all operators of the model, and onnxruntime"
                f" {library.__version__} cannot report which ones run on CPUExecutionProvider",
            ) from error
        raise JobError(
            NO_RUNTIME, f"the model cannot be opened on {provider}: {one_line(error)}"
        ) from error
    used = session.get_providers()
    if not used or used[0] != provider:
        raise JobError(
            NO_RUNTIME,
            f"{provider} did not start: the session uses {', '.join(used) or 'no provider'}",
        )
    return session


def _provider_nodes(session: Any, provider: str) -> dict[str, int]:
    """Return the number of operators on each provider, that of the job first.

    Empty if it is not known: this version does not report it, and all run on `provider`.

    Raises:
        JobError: BAD_JOB: the provider runs no operator.
    """
    if provider == _CPU or not _reports_assignment(session):
        return {}
    found = {provider: 0}
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name] = found.get(part.ep_name, 0) + len(part.get_nodes())
    if not found[provider]:
        others = ", ".join(f"{nodes} on {name}" for name, nodes in _used(found))
        raise JobError(
            BAD_JOB, f"{provider} runs no operator of the model: {others or 'it has none'}"
        )
    return dict(_used(found))


def _used(nodes: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    return ((name, count) for name, count in nodes.items() if count)
