"""Check a model file before it is used: its format must match its name, and it must be complete."""

from __future__ import annotations

import re
from pathlib import Path

from fleetmark_controller.artifacts.model_formats.onnx_file import (
    NotOnnxError,
    OnnxDescription,
    read_onnx,
)
from fleetmark_controller.artifacts.model_formats.ort_file import (
    NotOrtError,
    OrtDescription,
    read_ort,
)
from fleetmark_controller.artifacts.model_formats.tflite_file import (
    NotTfliteError,
    TfliteDescription,
    read_tflite,
)
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import open_regular

FORMATS = (".onnx", ".tflite", ".lite", ".ort")
MAX_ONNX_BYTES = (1 << 31) - 1
"""Maximum size of an ONNX file: runtimes parse it as one protobuf message."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,119}")


def check_model(
    file: Path, name: str, *, with_external: bool = False
) -> OnnxDescription | TfliteDescription | OrtDescription | None:
    """Return the metadata of the model `file`; None if `name` is not that of a model.

    Args:
        file: the model.
        name: its file name.
        with_external: True if the files beside the model that hold its weights are delivered too.

    Raises:
        FleetmarkError: BAD_DOCUMENT: the file is not such a model, is a pickle, or keeps its
            weights in other files that are not delivered.
        OSError: the file cannot be read.
    """
    ending = Path(name).suffix.lower()
    if ending not in FORMATS:
        return None
    strange = _strange(file)
    if strange:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT,
            f"is {strange}, not a model in {ending[1:].upper()} format",
            name,
        )
    try:
        if ending in (".tflite", ".lite"):
            return read_tflite(file)
        if ending == ".ort":
            return read_ort(file)
        model = read_onnx(file)
    except (NotOnnxError, NotTfliteError, NotOrtError) as error:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT,
            f"is not a model in {ending[1:].upper()} format: it {error}",
            name,
        ) from error
    size_bytes = file.stat().st_size
    if size_bytes > MAX_ONNX_BYTES:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT,
            f"has {size_bytes:,} bytes, and runtimes read ONNX files up to {MAX_ONNX_BYTES:,}",
            name,
            "Save its weights beside it: onnx.save_model(model, path, save_as_external_data=True)",
        )
    if model.external and not with_external:
        raise _external_data_error(model.external, name)
    for place in model.external if with_external else ():
        _check_place(place, name)
    return model


def _check_place(place: str, name: str) -> None:
    """Raise an error unless external data is in a plain file beside the model."""
    if _leads_out(place):
        raise _external_data_error((place,), name)
    if not _PLAIN_NAME.fullmatch(place):
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT,
            f"keeps weights in {place[:120]!r}, which is not a plain file name"
            if place
            else "keeps weights in a file without a name",
            name,
            "Save them in one file beside the model: onnx.save_model(model, path, "
            "save_as_external_data=True, all_tensors_to_one_file=True, location='weights.data')",
        )


def _external_data_error(places: tuple[str, ...], name: str) -> FleetmarkError:
    named = [place for place in places if place]
    outside = [place for place in named if _leads_out(place)]
    if outside:
        what = f"keeps weights in {outside[0][:120]!r}, outside its own folder"
        return FleetmarkError(ErrorKind.BAD_DOCUMENT, what, name, "Do not trust this file")
    which = f" ({', '.join(repr(place[:80]) for place in named[:3])})" if named else ""
    return FleetmarkError(
        ErrorKind.BAD_DOCUMENT,
        f"keeps its weights in other files{which}",
        name,
        "Save it as one file: onnx.save_model(model, path, save_as_external_data=False)",
    )


def _leads_out(place: str) -> bool:
    parts = place.replace("\\", "/").split("/")
    return place.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]


def _strange(file: Path) -> str:
    """Return the other format that the file has, or an empty string.

    A pickle matters most, because it runs code when it is loaded.
    """
    with open_regular(file) as opened:
        start = opened.read(16)
        opened.seek(0, 2)
        opened.seek(max(0, opened.tell() - 1))
        last = opened.read(1)
    if start[:1] == b"\x80" and len(start) > 1 and 2 <= start[1] <= 5:
        return "a pickle"
    if start[:1] in (b"(", b"c", b"]", b"}") and last == b".":
        return "a pickle"
    known = {
        b"PK": "a zip archive (a format in which PyTorch stores pickles)",
        b"\x89HDF": "an HDF5 file",
        b"\x1f\x8b": "a gzip file",
        b"\x7fELF": "a program",
        b"MZ": "a program",
        b"#!": "a script",
        b"\x93NUMPY": "a NumPy array",
        b"version https": "a Git LFS pointer without the content",
        b"<": "a markup file such as HTML",
    }
    return next((what for mark, what in known.items() if start.startswith(mark)), "")
