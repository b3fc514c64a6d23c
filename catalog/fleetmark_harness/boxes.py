"""Boxes of single-shot detectors: anchor positions and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def anchors(size: int, strides: Sequence[int], each: Sequence[int]) -> Floats:
    """Return the centers of the anchors [count, 2], from 0 to 1, in the model's output order.

    Args:
        size: side of the square input, in pixels.
        strides: pixels between anchors, per layer.
        each: anchors per position, per layer.
    """
    centres = []
    for stride, count in zip(strides, each, strict=True):
        steps = (np.arange(size // stride, dtype=np.float32) + 0.5) * stride / size
        rows, columns = np.meshgrid(steps, steps, indexing="ij")
        centres.append(np.repeat(np.stack([columns, rows], -1).reshape(-1, 2), count, axis=0))
    return np.concatenate(centres)


def suppress(boxes: Floats, scores: Floats, overlap: float, most: int) -> list[int]:
    """Return the indices of the boxes to keep, with the highest score first.

    Args:
        boxes: [N, 4] as left, top, right, bottom.
        scores: one score per box.
        overlap: boxes with a larger intersection over union with a kept box are dropped.
        most: maximum number of boxes to keep.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[best] + areas[order] - shared
        order = order[shared <= overlap * np.maximum(union, 1e-12)]
    return kept
