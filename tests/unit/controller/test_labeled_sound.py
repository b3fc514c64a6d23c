"""Labeled sound of an import: decoded and resampled exactly, and hostile files refused by name."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample_poly

from fleetmark_controller.artifacts.labeled_samples.labeled_inputs import read_labeled_inputs
from fleetmark_controller.artifacts.labeled_samples.samples import LabeledOptions
from fleetmark_controller.artifacts.labeled_samples.sound import (
    SoundSteps,
    parse_sound_steps,
    resampled,
    sound_values,
)
from fleetmark_controller.artifacts.model_formats.model_graph import GraphFacts, Tensor
from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_import.input_files import FileInputs
from fleetmark_controller.artifacts.model_import.plan import plan_import
from fleetmark_controller.artifacts.model_import.wave_file import WaveFile, parse_wave
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.model_files import sparse
from tests.support.sound_files import chunk, wave_bytes

Array = npt.NDArray[Any]
Y = Tensor("y", "float32", (0, 3), ("n", ""))


def model(shape: tuple[int, ...] = (0, 800), dtype: str = "float32") -> OnnxDescription:
    x = Tensor("x", dtype, shape, ("n", *[""] * (len(shape) - 1)))
    return OnnxDescription(8, 17, (x,), (Y,), (), GraphFacts())


def read(described: OnnxDescription, folder: Path, preprocess: str = "rate=8000") -> FileInputs:
    """Read the samples, and check that the controller accepts what they became."""
    given = LabeledOptions(str(folder), str(folder.parent / "labels.csv"), preprocess=preprocess)
    found = read_labeled_inputs(described, (), (), (), given)
    plan_import(described, found.shapes, found.inputs, arrays=found.heads)
    return found


def refused(described: OnnxDescription, folder: Path, preprocess: str = "rate=8000") -> str:
    with pytest.raises(FleetmarkError) as caught:
        read(described, folder, preprocess)
    assert caught.value.kind is ErrorKind.USAGE
    return f"{caught.value} {caught.value.next_step}"


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    (folder / "more").mkdir(parents=True)
    tone = (np.sin(np.arange(800) / 5) * 9000).astype(np.int16)
    (folder / "b.wav").write_bytes(wave_bytes(tone, 8000))
    (folder / "a.WAV").write_bytes(wave_bytes(tone[:300], 8000))
    (folder / "more" / "c.wav").write_bytes(wave_bytes(np.repeat(tone, 4)[:1700], 16000))
    (folder / "readme.txt").write_text("not a sound")
    (tmp_path / "labels.csv").write_text("file,class\nb.wav,1\na.WAV,0\nmore/c.wav,2\n")
    return folder


def test_sounds_become_values_of_one_length(sounds: Path) -> None:
    found = read(model(), sounds)
    tone = (np.sin(np.arange(800) / 5) * 9000).astype(np.int16) / 32768
    values = found.arrays["x"]
    assert (values.shape, values.dtype) == ((3, 800), np.float32)
    assert found.arrays["y"].tolist() == [0, 1, 2]
    assert np.array_equal(values[1], tone.astype(np.float32))
    assert np.array_equal(values[0], np.where(np.arange(800) < 300, tone, 0).astype(np.float32))
    assert found.notes == (
        "each sample has 800 values: 0.1 s of sound at 8,000 Hz",
        "1 of 3 files have another rate, and are resampled",
        "1 of 3 files are longer than 0.1 s: the end is cut",
        "1 of 3 files are shorter: zeros follow them",
    )


@pytest.mark.parametrize("shape", [(0, 0), (0, 1, 0), (1, 0, 1), (0, 1, 400), (0, 400)])
def test_seconds_give_an_open_length(sounds: Path, shape: tuple[int, ...]) -> None:
    values = read(model(shape), sounds, "rate=8000,seconds=0.05").arrays["x"]
    assert values.shape == (3, *(size or 400 for size in shape[1:]))
    assert values[1].any()


@pytest.mark.parametrize(
    ("shape", "steps", "says"),
    [
        ((0, 800), "", "the rate of the model is missing"),
        ((0, 800), "rate=16k", "'16k' is not a rate"),
        ((0, 800), "rate=0", "is not a rate"),
        ((0, 800), "rate=999", "is not a rate"),
        ((0, 800), "rate=9999999", "is not a rate"),
        ((0, 800), "rate=8000,seconds=0", "is not a length"),
        ((0, 800), "rate=8000,seconds=", "is not a length"),
        ((0, 800), "rate=8000,seconds=inf", "is not a length"),
        ((0, 800), "rate=8000,seconds=3601", "is not a length"),
        ((0, 800), "rate=8000,seconds=0.00001", "has no sample"),
        ((0, 800), "rate=8000,seconds=1", "gives 8,000 values, and input x takes 800"),
        ((0, 800), "rate=8000,mean=1:2:3", "mean='1:2:3' is not a number"),
        ((0, 800), "rate=8000,scale=0", "makes all values equal"),
        ((0, 800), "rate=8000,resize=8", "known: mean, rate, scale, seconds"),
        ((0, 800), "rate=8000,rate=8000", "given twice"),
        ((0, 0), "rate=8000", "open dimensions"),
        ((0, 0, 0), "rate=8000,seconds=1", "open dimensions"),
        ((0, 2, 800), "rate=8000", "does not take sound of one channel"),
        ((0, 40, 98), "rate=8000,seconds=1", "computes its spectrograms itself"),
        ((0, 1, 1), "rate=8000", "does not take sound"),
        ((0, 200_000_000), "rate=8000", "MiB of values"),
    ],
)
def test_steps_that_do_not_fit_are_refused(
    sounds: Path, shape: tuple[int, ...], steps: str, says: str
) -> None:
    assert says.lower() in refused(model(shape), sounds, steps).lower()


def test_values_have_the_type_of_the_input(sounds: Path) -> None:
    real = read(model(), sounds).arrays["x"]
    whole = read(model(dtype="int16"), sounds).arrays["x"]
    assert whole.dtype == np.int16
    assert np.abs(whole - real * 32768.0).max() <= 0.5
    moved = read(model(), sounds, "rate=8000,mean=0.25,scale=-3").arrays["x"]
    assert np.allclose(moved, (real - 0.25) * -3, atol=1e-6)
    assert "takes int8" in refused(model(dtype="int8"), sounds)
    small = read(model(dtype="int8"), sounds, "rate=8000,scale=127").arrays["x"]
    assert np.abs(small - real * 127.0).max() <= 0.5001
    tensor = Tensor("x", "int8", (1, 800), quantization=(1 / 64, 3))
    sound = parse_wave((sounds / "b.wav").read_bytes(), "b.wav")
    made = sound_values(sound, 800, SoundSteps(8000), tensor)
    assert np.array_equal(made, np.clip(np.rint(real[1] * 64) + 3, -128, 127))


def test_loud_sound_is_clipped_for_integers() -> None:
    full = np.where(np.arange(2000) % 40 < 20, 32767, -32768).astype(np.int16)
    sound = parse_wave(wave_bytes(full, 44100), "")
    made = sound_values(sound, 700, SoundSteps(16000), Tensor("x", "int16", (1, 700)))
    assert (made.max(), made.min()) == (32767, -32768)


# Files.

HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is not a WAV file"),
    "another format": (b"OggS" + bytes(100), "is not a WAV file"),
    "big-endian": (b"RIFX" + wave_bytes(np.zeros(4, np.int16), 8000)[4:], "is not a WAV file"),
    "no sound": (wave_bytes(np.zeros(0, np.int16), 8000), "no whole frames"),
    "no chunk of sound": (b"RIFF\4\0\0\0WAVE" + chunk(b"LIST", bytes(8)), "no chunk of sound"),
    "no format": (b"RIFF\4\0\0\0WAVE" + chunk(b"data", bytes(8)), "no description"),
    "cut off": (wave_bytes(np.zeros(50, np.int16), 8000)[:-1], "is cut off: 100 bytes"),
    "a stream without size": (
        wave_bytes(np.zeros(4, np.int16), 8000).replace(b"data\x08\0\0\0", b"data\xff\xff\xff\xff"),
        "is cut off: 4,294,967,295 bytes",
    ),
    "half a frame": (
        wave_bytes(np.zeros(3, np.uint8), 8000).replace(
            struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8),
            struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16),
        ),
        "no whole frames",
    ),
    "NaN": (wave_bytes(np.array([0, np.nan], "<f4"), 8000), "NaN or infinite"),
    "infinite": (wave_bytes(np.array([0, np.inf], "<f8"), 8000), "NaN or infinite"),
    "A-law": (
        wave_bytes(np.zeros(8, np.uint8), 8000).replace(b"\x10\0\0\0\x01", b"\x10\0\0\0\x06"),
        "has A-law of 8 bits",
    ),
    "an unknown subformat": (
        wave_bytes(np.zeros(8, np.int16), 8000, extensible=True).replace(b"\x9b\x71", b"\x9b\x72"),
        "has format 65534 of 16 bits",
    ),
    "a rate of 4 GHz": (wave_bytes(np.zeros(8, np.int16), (1 << 32) - 1), "has 4,294,967,295 Hz"),
    "a rate of 0": (wave_bytes(np.zeros(8, np.int16), 0), "has 0 Hz"),
    "no channel": (wave_bytes(np.zeros((0, 0), np.int16), 8000), "has 0 channels"),
    "too many channels": (wave_bytes(np.zeros((1, 65), np.int16), 8000), "has 65 channels"),
    "wrong frames": (
        wave_bytes(np.zeros(8, np.int16), 8000).replace(b"\x02\0\x10\0data", b"\x03\0\x10\0data"),
        "declares frames of 3 bytes",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_by_name(sounds: Path, case: str) -> None:
    data, says = HOSTILE[case]
    (sounds / "a.WAV").write_bytes(data)
    shown = refused(model(), sounds)
    assert says in shown
    assert "a.WAV" in shown


def test_files_that_are_not_plain_are_refused(sounds: Path) -> None:
    (sounds / "a.WAV").unlink()
    (sounds / "a.WAV").symlink_to(sounds / "b.wav")
    assert "a.WAV: is a link" in refused(model(), sounds)
    (sounds / "a.WAV").unlink()
    os.mkfifo(sounds / "a.WAV")
    assert "a.WAV: cannot be read" in refused(model(), sounds)
    (sounds / "a.WAV").unlink()
    sparse(sounds / "a.WAV", 1 << 40)
    assert "larger than" in refused(model(), sounds)


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("map", "map needs boxes, which sound does not have"),
        ("map50", "map50 needs boxes, which sound does not have"),
        ("miou", "miou needs classes of positions, which sound does not have"),
    ],
)
def test_metrics_of_pictures_are_refused(sounds: Path, metric: str, says: str) -> None:
    labels = str(sounds.parent / "labels.csv")
    given = LabeledOptions(str(sounds), labels, preprocess="rate=8000", metric=metric)
    with pytest.raises(FleetmarkError) as caught:
        read_labeled_inputs(model(), (), (), (), given)
    assert caught.value.kind is ErrorKind.USAGE
    assert says in str(caught.value)


def test_a_folder_has_one_kind_of_files(sounds: Path) -> None:
    (sounds / "d.png").write_bytes(b"")
    assert "has pictures (d.png) and sound (a.WAV)" in refused(model(), sounds)


SAMPLES = st.sampled_from(["<u1", "<i2", "<i4", "<f4", "<f8"])


@given(SAMPLES, st.integers(1, 4), st.integers(1, 20), st.booleans(), st.randoms(), st.data())
def test_each_format_is_decoded_exactly(
    dtype: str, channels: int, frames: int, extensible: bool, random: Any, data: st.DataObject
) -> None:
    kind = np.dtype(dtype)
    raw = np.array(
        [[random.uniform(-1, 1) for _ in range(channels)] for _ in range(frames)], np.float64
    )
    full = {"u": 127.0, "i": float(1 << (8 * kind.itemsize - 1)) - 1, "f": 1.0}[kind.kind]
    samples = (raw * full + (128 if kind.kind == "u" else 0)).astype(kind)
    bits = data.draw(st.sampled_from([0, 24])) if dtype == "<i4" else 0
    extra = data.draw(st.binary(max_size=9))
    file = wave_bytes(samples, 8000, bits=bits, extensible=extensible, before=chunk(b"LIST", extra))
    sound = parse_wave(file, "")
    assert (sound.frames, sound.channels, sound.rate_hz) == (frames, channels, 8000)
    if bits:
        samples = samples >> 8 << 8
    wanted = samples.astype(np.float64)
    if kind.kind == "u":
        wanted = (wanted - 128) / 128
    elif kind.kind == "i":
        wanted = wanted / float(1 << (8 * kind.itemsize - 1))
    assert np.array_equal(sound.mono(), wanted.mean(axis=1))
    most = data.draw(st.integers(0, frames + 1))
    assert np.array_equal(sound.mono(most), wanted.mean(axis=1)[:most])


@pytest.mark.fuzz("WAV files")
@given(st.binary(max_size=80), st.integers(0, 70), st.sampled_from(["<i2", "<f4"]), st.booleans())
def test_damaged_files_never_escape(data: bytes, place: int, dtype: str, extensible: bool) -> None:
    whole = bytearray(wave_bytes(np.zeros((4, 2), dtype), 8000, extensible=extensible))
    whole[place : place + len(data)] = data
    try:
        sound = parse_wave(bytes(whole), "a.wav")
        values = sound.mono()
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
        assert error.where == "a.wav"
    else:
        assert len(values) == sound.frames > 0
        assert np.isfinite(values).all()


# Rates.

RATES = st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000, 44101])


def noise(count: int, rate_hz: int) -> tuple[Array, WaveFile]:
    values = np.random.default_rng(count).uniform(-1, 1, count)
    return values, parse_wave(wave_bytes(values, rate_hz), "")


@given(RATES, RATES, st.integers(1, 3000), st.integers(1, 1000))
def test_a_part_is_resampled_as_the_whole(have: int, want: int, count: int, most: int) -> None:
    values, sound = noise(count, have)
    step = math.gcd(have, want)
    wanted = values if have == want else resample_poly(values, want // step, have // step)
    found = resampled(sound, want, most)
    assert len(found) == min(most, -(-count * want // have))
    assert np.allclose(found, wanted[:most], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("have", "want"), [(44100, 16000), (8000, 16000), (48000, 22050)])
def test_tones_keep_their_frequency_and_later_ones_vanish(have: int, want: int) -> None:
    seconds = np.arange(have) / have
    for frequency, is_kept in ((440, True), (3000, True), (want * 0.7, False)):
        if frequency > have / 2:
            continue
        tone = np.sin(2 * np.pi * frequency * seconds)
        found = resampled(parse_wave(wave_bytes(tone, have), ""), want, want)
        wanted = np.sin(2 * np.pi * frequency * np.arange(want) / want) * is_kept
        assert np.abs(found - wanted)[200:-200].max() < 0.01


def test_a_hostile_rate_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file is decoded only as far as its beginning is used."""
    sound = parse_wave(wave_bytes(np.zeros(4_000_000, np.uint8), 1000), "")
    decoded: list[int | None] = []
    mono = WaveFile.mono

    def watched(self: WaveFile, most: int | None = None) -> Array:
        decoded.append(most)
        return mono(self, most)

    monkeypatch.setattr(WaveFile, "mono", watched)
    assert len(resampled(sound, 384_000, 1000)) == 1000
    assert decoded
    assert decoded[0] is not None
    assert decoded[0] < 20


@given(st.text(alphabet="rateconds=mn,:.0123456789-+eE", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        steps = parse_sound_steps(text)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
    else:
        assert steps.rate_hz >= 1000
        assert np.isfinite([steps.seconds, steps.mean, steps.scale]).all()
