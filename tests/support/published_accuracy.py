"""Top-1 accuracy that was published with the Fashion-MNIST models, on the first 1,000 images."""

from __future__ import annotations

from pathlib import Path

ACCURACY = {"fp32": 0.937, "int8": 0.939}
_SATURATED = 0.01


def tolerance(precision: str, runtime: str) -> float:
    """Return how far this machine's figure may differ from the published one.

    ONNX Runtime's 8-bit kernels for x86 add pairs of products in 16 bits, which may saturate, where
    the processor has no VNNI instructions (ONNX Runtime's documentation, "Quantize ONNX models",
    "When and why do I need to try U8U8?").
    """
    if precision != "int8" or not runtime.startswith("onnx"):
        return 0.0
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return _SATURATED
    return 0.0 if "vnni" in flags or "flags\t" not in flags else _SATURATED
