"""Preparation of pictures for a model, as `--preprocess` describes it.

It happens once, at the import. Devices get the prepared values: they need no library for pictures,
and the versions of such a library, which scale pictures differently, cannot change the accuracy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.model_formats.model_graph import Tensor
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import hint

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    Array = npt.NDArray[Any]

OPTION = "--preprocess"
FITS = ("resize", "letterbox", "crop")
COLORS = ("rgb", "bgr", "gray")
LAYOUTS = ("nchw", "nhwc")
_KEYS = (*FITS, "mean", "scale", "color", "layout")
_SIZE = re.compile(r"([1-9][0-9]{0,4})(?:x([1-9][0-9]{0,4}))?", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]{1,3})?")
_PAD = 114
"""Gray of the borders of a letterbox, as usual for YOLO models."""
_CROP = 0.875
"""Share of the shorter side that a crop keeps, as usual for ImageNet."""


@dataclass(frozen=True)
class Preprocess:
    """How pixels from 0 to 255 become values: `(pixel - mean) * scale`, by channel or for all."""

    fit: str = "resize"
    size: tuple[int, int] | None = None
    """Height and width; None: those of the input."""
    mean: tuple[float, ...] = ()
    """Empty: 0, or 128 for an input of int8 without a quantization."""
    scale: tuple[float, ...] = ()
    """Empty: 1/255 for real numbers, 1 for integers."""
    color: str = ""
    """Empty: rgb for three channels, gray for one."""
    layout: str = ""
    """Empty: that of the input's shape."""


@dataclass(frozen=True)
class PictureShape:
    """Height, width, channels and order of the axes of an input for pictures."""

    height: int
    width: int
    channels: int
    is_first: bool
    """True if the channels are the first axis of a sample."""


def parse_preprocess(text: str) -> Preprocess:
    """Return the steps of a text such as `resize=224,mean=127.5,scale=0.0078,layout=nchw`.

    Raises:
        FleetmarkError: USAGE: a step is unknown, is given twice, or has an invalid value.
    """
    found = split_steps(text, _KEYS)
    fits = [key for key in FITS if key in found]
    if len(fits) > 1:
        raise invalid_step_error(f"{fits[0]} and {fits[1]} exclude each other")
    return Preprocess(
        fits[0] if fits else "resize",
        _size(found[fits[0]]) if fits else None,
        parse_numbers("mean", found),
        parse_numbers("scale", found),
        _one_of("color", found, COLORS),
        _one_of("layout", found, LAYOUTS),
    )


def split_steps(text: str, keys: Sequence[str]) -> dict[str, str]:
    """Return the values of steps such as `resize=224,mean=127.5` by their keys.

    Args:
        text: the steps.
        keys: the steps that there are.

    Raises:
        FleetmarkError: USAGE: a step is unknown or is given twice.
    """
    found: dict[str, str] = {}
    for part in text.split(",") if text else ():
        key, separator, value = part.strip().partition("=")
        if not separator or key not in keys:
            raise invalid_step_error(
                f"{part[:80]!r} is not a step",
                hint(key[:80], keys) or f"The steps are {', '.join(keys)}",
            )
        if key in found:
            raise invalid_step_error(f"{key} is given twice")
        found[key] = value
    return found


def picture_shape(name: str, sizes: tuple[int, ...], steps: Preprocess) -> PictureShape:
    """Return the shape of the pictures that an input takes.

    Args:
        name: name of the input.
        sizes: shape of one sample.
        steps: the preparation.

    Raises:
        FleetmarkError: USAGE: the input does not take pictures, or other ones than described.
    """
    allowed = {"gray": (1,), "": (1, 3)}.get(steps.color, (3,))
    layouts = [steps.layout] if steps.layout else list(LAYOUTS)
    orders = {"nchw": (0, 1, 2), "nhwc": (2, 0, 1)}
    found: list[PictureShape] = []
    if len(sizes) == 3:
        for layout in layouts:
            channels, height, width = (sizes[place] for place in orders[layout])
            if channels in allowed:
                found.append(PictureShape(height, width, channels, layout == "nchw"))
    elif len(sizes) == 2 and 1 in allowed and not steps.layout:
        found.append(PictureShape(*sizes, 1, False))
    if len(found) != 1:
        what = "takes pictures in either layout" if found else "does not take such pictures"
        raise invalid_step_error(
            f"input {name} {list(sizes)} {what}",
            "Give layout=nchw or layout=nhwc, and color=rgb, bgr or gray",
        )
    shape = found[0]
    if steps.size is not None and steps.size != (shape.height, shape.width):
        raise invalid_step_error(
            f"{steps.fit}={steps.size[0]}x{steps.size[1]} does not fit input {name}, which takes "
            f"{shape.height}x{shape.width}"
        )
    for key, values in (("mean", steps.mean), ("scale", steps.scale)):
        if len(values) not in (0, 1, shape.channels):
            raise invalid_step_error(
                f"{key} has {len(values)} values for {shape.channels} channels"
            )
    return shape


def find_picture_shape(sizes: tuple[int, ...], steps: Preprocess) -> PictureShape | None:
    """Return the shape of the pictures that an input takes; None if it is not clear."""
    try:
        return picture_shape("", sizes, steps)
    except FleetmarkError:
        return None


def open_picture_shape(tensor: Tensor, steps: Preprocess) -> tuple[int, ...]:
    """Return the shape of an input with open dimensions that the steps give; empty if none."""
    sizes = tensor.shape
    if not tensor.has_rank or len(sizes) != 4 or all(sizes[1:]) or steps.size is None:
        return ()
    first = steps.layout == "nchw" or (not steps.layout and sizes[1] in (1, 3))
    channels = (sizes[1] if first else sizes[3]) or (1 if steps.color == "gray" else 3)
    batch = sizes[0] or 1
    return (batch, channels, *steps.size) if first else (batch, *steps.size, channels)


def fit_picture(picture: Image, shape: PictureShape, steps: Preprocess) -> Array:
    """Return the pixels of a picture in the input's size, as [height, width, channels] of uint8."""
    import numpy as np

    picture = picture.convert("L" if shape.channels == 1 else "RGB")
    color: Any = _PAD if shape.channels == 1 else (_PAD,) * 3
    picture = place_picture(picture, shape, steps, color, is_smooth=True)
    pixels = np.asarray(picture, np.uint8).reshape(shape.height, shape.width, shape.channels)
    return pixels[..., ::-1] if steps.color == "bgr" else pixels


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in an input: a point x of the picture is at `x * scale + offset`."""

    scale: tuple[float, float]
    """Horizontal and vertical scale."""
    offset: tuple[float, float]
    """Pixels of the input left of and above the picture; negative if a part is cut off."""
    inner: tuple[int, int]
    """Width and height of the scaled picture, for a letterbox."""


def placement(size: tuple[int, int], shape: PictureShape, steps: Preprocess) -> Placement:
    """Return where a picture lies in an input.

    Args:
        size: width and height of the picture.
        shape: shape of the input.
        steps: the preparation.
    """
    target = (shape.width, shape.height)
    ratios = (target[0] / size[0], target[1] / size[1])
    if steps.fit == "resize" or size == target:
        return Placement(ratios, (0.0, 0.0), target)
    factor = min(ratios) if steps.fit == "letterbox" else max(ratios) / _CROP
    scaled = [max(1, round(side * factor)) for side in size]
    if steps.fit == "letterbox":
        width, height = (min(side, most) for side, most in zip(scaled, target, strict=True))
        offset = ((target[0] - width) // 2, (target[1] - height) // 2)
        return Placement((width / size[0], height / size[1]), offset, (width, height))
    box = ((scaled[0] - target[0]) // 2, (scaled[1] - target[1]) // 2)
    return Placement((factor, factor), (-float(box[0]), -float(box[1])), target)


def place_picture(
    picture: Image, shape: PictureShape, steps: Preprocess, border: Any, *, is_smooth: bool
) -> Image:
    """Return a picture in the input's size.

    Args:
        picture: the picture.
        shape: shape of the input.
        steps: the preparation.
        border: value of pixels beside the picture.
        is_smooth: True for bilinear scaling, False to keep values.
    """
    from PIL import Image

    size = (shape.width, shape.height)
    if picture.size == size:
        return picture
    how = Image.Resampling.BILINEAR if is_smooth else Image.Resampling.NEAREST
    if steps.fit == "resize":
        return picture.resize(size, how)
    place = placement(picture.size, shape, steps)
    if steps.fit == "letterbox":
        whole = Image.new(picture.mode, size, border)
        whole.paste(picture.resize(place.inner, how), (int(place.offset[0]), int(place.offset[1])))
        return whole
    # Only the part that is kept is computed: a narrow picture may be very long.
    factor = place.scale[0]
    left, top = -place.offset[0] / factor, -place.offset[1] / factor
    edges = (left, top, left + size[0] / factor, top + size[1] / factor)
    return picture.resize(size, how, edges)


def to_values(pixels: Array, shape: PictureShape, steps: Preprocess, tensor: Tensor) -> Array:
    """Return pixels [height, width, channels] as values of an input, in its layout and type.

    An input with a quantization gets real numbers that are quantized with it, as in the harness.

    Raises:
        FleetmarkError: USAGE: the type cannot hold the values.
    """
    import numpy as np

    dtype = np.dtype(tensor.dtype)
    is_real = dtype.kind == "f" or tensor.quantization is not None
    mean = steps.mean or ((0.0,) if is_real or tensor.dtype != "int8" else (128.0,))
    # Without a scale, pixels are divided: a product with 1/255 would differ in the last bit.
    values = pixels.astype(np.float32) - np.array(mean, np.float32)
    if steps.scale:
        values = values * np.array(steps.scale, np.float32)
    elif is_real:
        values = values / np.float32(255)
    made = typed(values, tensor, OPTION)
    return np.moveaxis(made, -1, 0) if shape.is_first else made


def typed(values: Array, tensor: Tensor, where: str) -> Array:
    """Return real numbers in the type of an input: rounded, and quantized if it is.

    Raises:
        FleetmarkError: USAGE: they are not finite, or the type cannot hold them.
    """
    import numpy as np

    dtype = np.dtype(tensor.dtype)
    if not np.isfinite(values).all():
        raise FleetmarkError(
            ErrorKind.USAGE, f"input {tensor.name}: has NaN or infinite values", where
        )
    if tensor.quantization is not None:
        scale, point = tensor.quantization
        limits = np.iinfo(dtype)
        quantized = np.rint(values / np.float32(scale)) + point
        clipped: Array = np.clip(quantized, limits.min, limits.max).astype(dtype)
        return clipped
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            made = values.astype(dtype)
        fits = bool(np.isfinite(made).all())
    elif dtype.kind in "iu":
        rounded = np.rint(values)
        limits = np.iinfo(dtype)
        fits = bool(((rounded >= limits.min) & (rounded <= limits.max)).all())
        made = rounded.astype(dtype) if fits else rounded
    else:
        fits, made = False, values
    if not fits:
        what = f"input {tensor.name}: values from {values.min():g} to {values.max():g} do not fit"
        raise FleetmarkError(ErrorKind.USAGE, f"{what} into {tensor.dtype}", where)
    return made


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise invalid_step_error(f"{text[:80]!r} is not a size", "Give 224, or HEIGHTxWIDTH")
    return int(match[1]), int(match[2] or match[1])


def parse_numbers(
    key: str, found: Mapping[str, str], counts: Sequence[int] = (1, 3)
) -> tuple[float, ...]:
    """Return the numbers of a step, separated by colons; empty if it is not given.

    Args:
        key: `mean` or `scale`.
        found: the steps.
        counts: how many numbers are allowed.

    Raises:
        FleetmarkError: USAGE: it has other values.
    """
    if key not in found:
        return ()
    parts = found[key].split(":")
    values = [float(part) if _NUMBER.fullmatch(part[:41]) else math.nan for part in parts[:5]]
    if not all(map(math.isfinite, values)) or len(parts) not in counts:
        what = f"{key}={found[key][:80]!r} is not a number"
        if counts == (1,):
            raise invalid_step_error(what, f"Give {key}=0.5")
        raise invalid_step_error(
            f"{what}, nor one for each channel",
            f"Give {key}=127.5, or {key}=123.7:116.3:103.5",
        )
    if key == "scale" and not all(values):
        raise invalid_step_error("scale=0 makes all values equal")
    return tuple(values)


def _one_of(key: str, found: Mapping[str, str], allowed: tuple[str, ...]) -> str:
    value = found.get(key, "")
    if key in found and value not in allowed:
        raise invalid_step_error(
            f"{key}={value[:80]!r} is not one of {', '.join(allowed)}", hint(value[:80], allowed)
        )
    return value


def invalid_step_error(what: str, next_step: str = "") -> FleetmarkError:
    """Return the error for a step that is not valid or does not fit the model."""
    return FleetmarkError(ErrorKind.USAGE, what, OPTION, next_step)
