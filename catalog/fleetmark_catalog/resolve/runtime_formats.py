"""The model formats that each runtime reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping

FORMATS: Mapping[str, frozenset[str]] = {
    "onnxruntime": frozenset({"onnx", "ort"}),
    "opencv": frozenset({"onnx"}),
    "openvino": frozenset({"onnx"}),
    "tflite": frozenset({"tflite"}),
}
"""Formats by the name of the adapter in `fleetmark_harness.adapters`."""
ANOTHER_FORMAT = (
    "Choose variations of one format, or leave them out: the model then chooses the runtime"
)


def format_mismatch(model: str, model_format: str, runtime: str, adapter: str) -> str:
    """Return why a runtime cannot run a model; empty if it can, or if that is not known.

    A program may bring an adapter of its own, and a model need not declare its format.

    Args:
        model: id of the model's component.
        model_format: format that the model declares with the chosen variations; may be empty.
        runtime: id of the runtime's component.
        adapter: name of the adapter that the runtime's component declares.
    """
    read = FORMATS.get(adapter)
    if read is None or not model_format or model_format in read:
        return ""
    return f"{model} is in format {model_format}, and {runtime} reads {', '.join(sorted(read))}"
