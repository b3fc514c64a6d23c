"""Values of inputs from files: fitting ones are kept exactly, hostile ones refused by name."""

from __future__ import annotations

import io
import os
import struct
import wave
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fleetmark_controller.artifacts.model_formats.model_graph import GraphFacts, Tensor
from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_import import value_archive
from fleetmark_controller.artifacts.model_import.input_files import FileInputs, is_file, read_inputs
from fleetmark_controller.artifacts.model_import.options import ArrayHead
from fleetmark_controller.artifacts.model_import.plan import plan_import
from fleetmark_controller.artifacts.model_import.value_archive import (
    read_archive,
    read_heads,
    write_archive,
)
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.sound_files import wave_bytes

Array = npt.NDArray[Any]
Y = Tensor("y", "float32", (0, 10), ("n", ""))


def model(**inputs: tuple[str, tuple[int, ...]]) -> OnnxDescription:
    """A model with these inputs; the first axis of each is an open batch if it is 0."""
    tensors = tuple(
        Tensor(
            name,
            dtype,
            shape,
            tuple("n" if axis == 0 and not size else "" for axis, size in enumerate(shape)),
        )
        for name, (dtype, shape) in inputs.items()
    )
    return OnnxDescription(8, 17, tensors, (Y,), (), GraphFacts())


def values(described: OnnxDescription, *inputs: str, shapes: tuple[str, ...] = ()) -> FileInputs:
    """Read the files, and check that the controller accepts what they became."""
    found = read_inputs(described, shapes, inputs)
    plan_import(described, found.shapes, found.inputs, arrays=found.heads)
    return found


def only(found: FileInputs) -> Array:
    (array,) = found.arrays.values()
    return array


def saved(path: Path, array: Array | Mapping[str, Array]) -> str:
    if isinstance(array, Mapping):
        np.savez_compressed(path, **array)
    else:
        np.save(path, array)
    return str(path)


IMAGE = model(x=("float32", (0, 3, 4, 4)))


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 3, 4, 4), (5, 3, 4, 4)])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_arrays_are_samples(tmp_path: Path, shape: tuple[int, ...], ending: str) -> None:
    array = np.random.default_rng(1).random(shape).astype(np.float64)
    file = saved(tmp_path / f"a.{ending}", array if ending == "npy" else {"any": array})
    found = only(values(IMAGE, f"x={file}"))
    assert found.dtype == np.float32
    assert found.shape == (shape[0] if len(shape) == 4 else 1, 3, 4, 4)
    assert np.array_equal(found.ravel(), array.astype(np.float32).ravel())


def test_an_archive_has_an_array_for_each_input(tmp_path: Path) -> None:
    text = model(ids=("int64", (0, 8)), mask=("int64", (0, 8)))
    ids, mask = np.arange(24).reshape(3, 8), np.ones((3, 8), np.int32)
    file = saved(tmp_path / "batch.npz", {"mask": mask, "ids": ids})
    found = values(text, file)
    plan = plan_import(text, found.shapes, found.inputs, arrays=found.heads)
    assert plan.sample_count == 3
    entries = {entry.name: entry for entry in (plan.sample, *plan.constants)}
    for name, wanted in (("ids", ids), ("mask", mask)):
        chosen = entries[name].values
        assert chosen is not None
        assert np.array_equal(found.arrays[chosen.source], wanted)


def test_samples_of_several_inputs_belong_together(tmp_path: Path) -> None:
    text = model(ids=("int64", (0, 8)), mask=("int64", (0, 8)))
    file = saved(tmp_path / "a.npz", {"ids": np.zeros((3, 8), int), "mask": np.ones((2, 8), int)})
    assert "input ids has 3 samples, and mask 2" in str(refused(text, file))
    # One sample belongs to all.
    file = saved(tmp_path / "b.npz", {"ids": np.zeros((3, 8), int), "mask": np.ones((1, 8), int)})
    assert len(values(text, file).arrays) == 2


def test_a_file_gives_the_sizes_of_open_dimensions(tmp_path: Path) -> None:
    detector = model(x=("float32", (0, 3, 0, 0)))
    file = saved(tmp_path / "a.npy", np.zeros((2, 3, 32, 48), np.float32))
    assert values(detector, f"x={file}").shapes == ("x=1x3x32x48",)
    assert "needs [3, 16, 16]" in str(refused(detector, f"x={file}", shapes=("x=1x3x16x16",)))


def test_a_constant_of_any_shape(tmp_path: Path) -> None:
    both = model(x=("float32", (0, 64)), anchors=("float32", (4, 2)))
    array = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = values(both, f"anchors={saved(tmp_path / 'a.npy', array)}")
    plan = plan_import(both, found.shapes, found.inputs, arrays=found.heads)
    assert plan.sample.name == "x"
    assert only(found).shape == (1, 4, 2)
    file = saved(tmp_path / "b.npy", np.zeros((3, 4, 2), np.float32))
    assert "needs [4, 2]" in str(refused(both, f"anchors={file}"))


def test_raw_bytes_are_whole_samples(tmp_path: Path) -> None:
    pixels = model(x=("uint8", (0, 4, 4)))
    (tmp_path / "two.raw").write_bytes(bytes(range(32)))
    assert only(values(pixels, f"x={tmp_path}/two.raw")).ravel().tolist() == list(range(32))
    (tmp_path / "cut.bin").write_bytes(bytes(31))
    says = str(refused(pixels, f"x={tmp_path}/cut.bin"))
    assert "has 31 bytes" in says
    assert "has 16" in says
    numbers = model(x=("float32", (0, 2)))
    (tmp_path / "nan.raw").write_bytes(struct.pack("<ff", 1.0, float("nan")))
    assert "NaN" in str(refused(numbers, f"x={tmp_path}/nan.raw"))


def sound(path: Path, frames: bytes, width: int = 2, channels: int = 1) -> str:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, 16000, 0, "NONE", ""))
        file.writeframes(frames)
    return str(path)


def test_sound_is_cut_into_windows(tmp_path: Path) -> None:
    listener = model(x=("float32", (0, 4)))
    file = sound(tmp_path / "a.wav", struct.pack("<6h", 0, 16384, -32768, 32767, 1, 2))
    found = only(values(listener, f"x={file}"))
    assert found.shape == (2, 4)
    assert found[0, :3].tolist() == [0.0, 0.5, -1.0]
    assert found[1, 2:].tolist() == [0.0, 0.0]
    whole = model(x=("int16", (0, 4)))
    assert only(values(whole, f"x={file}"))[0].tolist() == [0, 16384, -32768, 32767]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sound_of_each_width_and_of_two_channels(tmp_path: Path, width: int) -> None:
    half = {1: b"\xc0", 2: b"\x00\x40", 3: b"\x00\x00\x40", 4: b"\x00\x00\x00\x40"}[width]
    silence = b"\x80" if width == 1 else bytes(width)
    file = sound(tmp_path / "a.wav", (half + silence) * 2, width, channels=2)
    listener = model(x=("float32", (0, 2)))
    assert only(values(listener, f"x={file}")).tolist() == [[0.25, 0.25]]


def test_sound_of_any_rate_has_a_note_of_it(tmp_path: Path) -> None:
    file = sound(tmp_path / "a.wav", bytes(8))
    found = values(model(x=("float32", (0, 4))), f"x={file}")
    assert found.notes == (
        "a.wav has 16,000 Hz, and is not resampled: the model must be one for this rate",
    )
    assert "takes int8" in str(refused(model(x=("int8", (0, 4))), f"x={file}"))


def test_sound_of_floating_point_numbers_fits_the_type(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wave_bytes(np.array([0.5, 2.0, -3.0, 1e30], "<f4"), 8000))
    found = values(model(x=("float32", (0, 4))), f"x={path}")
    assert np.array_equal(only(found), np.array([[0.5, 2.0, -3.0, 1e30]], np.float32))
    clipped = only(values(model(x=("int16", (0, 4))), f"x={path}"))
    assert clipped.tolist() == [[16384, 32767, -32768, 32767]]
    says = str(refused(model(x=("float16", (0, 4))), f"x={path}"))
    assert "do not fit into float16" in says


@pytest.mark.parametrize("shape", [(0, 3, 4, 8), (0, 4, 8, 3)])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_a_picture_has_the_layout_of_the_input(
    tmp_path: Path, shape: tuple[int, ...], dtype: str
) -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[..., 0] = 255
    Image.fromarray(pixels).save(tmp_path / "red.png")
    found = only(values(model(x=(dtype, shape)), f"x={tmp_path}/red.png"))
    assert found.shape == (1, *shape[1:])
    red = found[0, 0] if shape[1] == 3 else found[0, ..., 0]
    low, high = {"float32": (0, 1), "uint8": (0, 255), "int8": (-128, 127)}[dtype]
    assert np.all(red == high)
    assert np.isclose(found.astype(float).mean(), (high + 2 * low) / 3)


def npz(path: Path, members: Mapping[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return str(path)


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([print], object), allow_pickle=True)
    return buffer.getvalue()


BOMB = "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}"
HOSTILE: dict[str, tuple[Callable[[Path], str], str]] = {
    "a pickle": (
        lambda p: npz(p / "a.npz", {"x.npy": pickled()}),
        "holds Python objects (a pickle)",
    ),
    "a pickle alone": (
        lambda p: str((p / "a.npy").write_bytes(pickled()) and p / "a.npy"),
        "holds Python objects (a pickle)",
    ),
    "a declared terabyte": (lambda p: npz(p / "a.npz", {"x.npy": npy(BOMB)}), "more than 1024 MiB"),
    "zeros without end": (
        lambda p: npz(
            p / "a.npz", {"x.npy": npy(BOMB.replace("1099511627776", "48"), bytes(1 << 20))}
        ),
        "has more bytes than its shape",
    ),
    "too few bytes": (
        lambda p: npz(p / "a.npz", {"x.npy": npy(BOMB.replace("1099511627776", "48"), bytes(10))}),
        "has fewer bytes than its shape",
    ),
    "a negative size": (
        lambda p: npz(p / "a.npz", {"x.npy": npy(BOMB.replace("1099511627776", "-3"))}),
        "cannot be read",
    ),
    "text": (
        lambda p: saved(p / "a.npz", {"x": np.array(["a", "b"])}),
        "not plain numbers",
    ),
    "records": (
        lambda p: saved(p / "a.npz", {"x": np.zeros(3, [("a", "f4")])}),
        "not plain numbers",
    ),
    "a member that is no array": (
        lambda p: npz(p / "a.npz", {"../../evil.py": b"import os"}),
        "'../../evil.py', which is not an array",
    ),
    "no zip": (
        lambda p: str((p / "a.npz").write_bytes(b"PK\x03\x04junk") and p / "a.npz"),
        "cannot be read",
    ),
    "no member": (lambda p: npz(p / "a.npz", {}), "has 0 arrays"),
    "NaN": (lambda p: saved(p / "a.npy", np.full((3, 4, 4), np.nan)), "NaN or infinite"),
    "too large for the type": (
        lambda p: saved(p / "a.npy", np.full((3, 4, 4), 1e300)),
        "do not fit into float32",
    ),
    "another shape": (lambda p: saved(p / "a.npy", np.zeros((4, 4, 3))), "needs [3, 4, 4]"),
    "no sample": (lambda p: saved(p / "a.npy", np.zeros((0, 3, 4, 4))), "needs [3, 4, 4]"),
    "a folder": (lambda p: str((p / "a.npy").mkdir() or p / "a.npy"), "cannot be read"),
    "no file": (lambda p: str(p / "missing.npy"), "cannot be read"),
    "no sound": (
        lambda p: str((p / "a.wav").write_bytes(b"RIFF0000WAVE") and p / "a.wav"),
        "not a WAV file",
    ),
    "no picture": (
        lambda p: str((p / "a.png").write_bytes(b"<svg/>") and p / "a.png"),
        "not a PNG or JPEG",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_by_name(tmp_path: Path, case: str) -> None:
    make, says = HOSTILE[case]
    file = make(tmp_path)
    error = refused(IMAGE, f"x={file}")
    assert error.kind is ErrorKind.USAGE
    assert says in str(error)
    assert Path(file).name in str(error)


def test_a_bomb_of_members_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_archive, "MAX_BYTES", 1 << 22)
    file = tmp_path / "a.npz"
    block = bytes(1 << 20)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5):
            archive.writestr(f"a{number}.npy", block)
    assert "more than 4 MiB of values" in str(refused(IMAGE, f"x={file}"))


def test_words_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in ("ones", "0.5", "normal:0:1", "dataset"):
        (tmp_path / word).write_bytes(bytes(192))
    assert not is_file("ones")
    assert not is_file("0.5")
    assert not is_file("normal:0:1")
    assert is_file("./ones")
    assert is_file("photo.png")
    (tmp_path / "frame").write_bytes(bytes(192))
    assert only(values(IMAGE, "x=frame")).shape == (1, 3, 4, 4)


def test_a_device_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    assert "cannot be read" in str(refused(IMAGE, f"x={tmp_path}/pipe.npy"))


def refused(
    described: OnnxDescription, *inputs: str, shapes: tuple[str, ...] = ()
) -> FleetmarkError:
    with pytest.raises(FleetmarkError) as caught:
        values(described, *inputs, shapes=shapes)
    return caught.value


NAMES = st.text("abcdefghij0123456789", min_size=1, max_size=8)
ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float16, np.int64, np.uint8, np.bool_]),
    hnp.array_shapes(max_dims=4, max_side=5),
)


@given(arrays=st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=4))
def test_the_same_arrays_give_the_same_archive(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Array]
) -> None:
    folder = tmp_path_factory.mktemp("archives")
    write_archive(folder / "one.npz", arrays)
    write_archive(folder / "two.npz", dict(reversed(arrays.items())))
    assert sha256_file(folder / "one.npz") == sha256_file(folder / "two.npz")
    heads = {name: ArrayHead(str(one.dtype), one.shape) for name, one in arrays.items()}
    assert read_heads(folder / "one.npz", "") == heads
    for name, array in read_archive(folder / "one.npz", "").items():
        assert np.array_equal(array, arrays[name], equal_nan=array.dtype.kind == "f")


@pytest.mark.fuzz("value archive")
@given(data=st.binary(max_size=400), place=st.integers(0, 300))
def test_damaged_archives_never_escape(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    write_archive(folder / "a.npz", {"x": np.zeros((2, 3), np.float32)})
    whole = bytearray((folder / "a.npz").read_bytes())
    whole[place : place + len(data)] = data
    (folder / "a.npz").write_bytes(bytes(whole))
    try:
        read_archive(folder / "a.npz", "a.npz")
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
