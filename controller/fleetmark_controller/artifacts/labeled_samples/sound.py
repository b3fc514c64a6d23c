"""Labeled sound of an import: a folder of WAV files, prepared as `--preprocess` describes.

All files become the model's rate, one channel and one length. Features such as spectrograms belong
into the model: libraries compute them differently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.labels import Labels, read_file_labels
from fleetmark_controller.artifacts.labeled_samples.preprocess import (
    OPTION,
    invalid_step_error,
    parse_numbers,
    split_steps,
    typed,
)
from fleetmark_controller.artifacts.labeled_samples.samples import (
    FittedLabels,
    LabeledOptions,
    PreparedSamples,
    line_length,
    with_length,
)
from fleetmark_controller.artifacts.model_formats.model_graph import Tensor
from fleetmark_controller.artifacts.model_import.plan import PlannedInput
from fleetmark_controller.artifacts.model_import.wave_file import (
    MAX_RATE_HZ,
    MIN_RATE_HZ,
    WaveFile,
    read_wave,
)
from fleetmark_controller.evaluation.metrics.names import DETECTION_METRICS, MIOU
from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

SOUNDS = (".wav",)
_MAX_FILE_BYTES = 256 << 20
_MAX_SECONDS = 3600.0
_RATE = re.compile(r"[1-9][0-9]{0,6}")
_SECONDS = re.compile(r"[0-9]{0,4}\.?[0-9]{1,9}")
_INT16 = 32768.0
_HALF_TAPS, _KAISER_BETA = 10, 5.0
"""Filter of a rate conversion: that of `scipy.signal.resample_poly` without other arguments."""


@dataclass(frozen=True)
class SoundSteps:
    """How sound from -1 to 1 becomes values: `(sample - mean) * scale`."""

    rate_hz: int
    seconds: float = 0.0
    """0: the length of the input."""
    mean: float = 0.0
    scale: float = 0.0
    """0: 1 for real numbers, 32,768 for an input of int16 without a quantization."""


@dataclass(frozen=True)
class SoundSamples:
    """Sound files of a folder, with classes or transcripts."""

    labels: Labels
    where: str
    tensor: Tensor
    steps: SoundSteps
    paths: tuple[Path, ...]
    next_step: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name of the input."""
        return (self.tensor.name,)

    def open_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape that the steps give to an input with an open length."""
        sizes = with_length(self.tensor, round(self.steps.seconds * self.steps.rate_hz))
        return {self.tensor.name: sizes} if sizes else {}

    @property
    def count(self) -> int:
        """The number of files."""
        return len(self.labels)

    def fit_labels(self, planned: Mapping[str, PlannedInput]) -> FittedLabels:
        """Return the labels; see `Samples`."""
        return FittedLabels(self.labels)

    def prepare(self, planned: Mapping[str, PlannedInput]) -> PreparedSamples:
        """Return the values of the files; see `Samples`."""
        import numpy as np

        entry = planned[self.tensor.name]
        length = sound_length(self.tensor.name, entry.array_shape, self.steps)
        values = np.empty((len(self.paths), *entry.array_shape), np.dtype(self.tensor.dtype))
        longer = shorter = resampled = 0
        for number, path in enumerate(self.paths):
            sound = read_wave(path, _MAX_FILE_BYTES)
            # Compared without division: both sides are exact.
            have, want = sound.frames * self.steps.rate_hz, length * sound.rate_hz
            longer += have > want
            shorter += have < want
            resampled += sound.rate_hz != self.steps.rate_hz
            made = sound_values(sound, length, self.steps, self.tensor)
            values[number] = made.reshape(entry.array_shape)
        rate_hz, count = self.steps.rate_hz, len(self.paths)
        seconds = f"{length / rate_hz:.4g} s"
        notes = [f"each sample has {length:,} values: {seconds} of sound at {rate_hz:,} Hz"]
        if resampled:
            notes.append(f"{resampled:,} of {count:,} files have another rate, and are resampled")
        if longer:
            notes.append(f"{longer:,} of {count:,} files are longer than {seconds}: the end is cut")
        if shorter:
            what = "files are shorter: zeros follow them"
            notes.append(f"{shorter:,} of {count:,} {what}")
        return PreparedSamples({self.tensor.name: values}, tuple(notes))


def read_sounds(
    folder: Path, names: list[str], tensor: Tensor, given: LabeledOptions
) -> SoundSamples:
    """Return the sound files of a folder.

    Args:
        folder: the folder.
        names: paths of the files in it.
        tensor: the input that gets them.
        given: labels and preparation.

    Raises:
        FleetmarkError: USAGE: the labels are not those of the files, a step is not valid, or the
            metric is not one of sound.
    """
    for metrics, needed in ((DETECTION_METRICS, "boxes"), ((MIOU,), "classes of positions")):
        if given.metric in metrics:
            what = f"{given.metric} needs {needed}, which sound does not have"
            next_step = "Give --metric top-1, f1, wer or cer"
            raise FleetmarkError(ErrorKind.USAGE, what, "--metric", next_step)
    steps = parse_sound_steps(given.preprocess)
    paths = tuple(folder / name for name in names)
    if Path(given.labels).is_dir():
        what = f"{given.labels} is a folder, and sound has its labels in a file"
        raise FleetmarkError(ErrorKind.USAGE, what, "--labels", "Give --labels labels.csv")
    labels = read_file_labels(given.labels, given.classes, given.metric, names)
    return SoundSamples(labels, str(folder), tensor, steps, paths)


def parse_sound_steps(text: str) -> SoundSteps:
    """Return the steps of a text such as `rate=16000,seconds=1`.

    Raises:
        FleetmarkError: USAGE: a step is unknown, is given twice, or has an invalid value, or the
            rate is missing.
    """
    found = split_steps(text, ("rate", "seconds", "mean", "scale"))
    rate = found.get("rate", "")
    if not _RATE.fullmatch(rate) or not MIN_RATE_HZ <= int(rate) <= MAX_RATE_HZ:
        what = f"rate={rate[:80]!r} is not a rate" if rate else "the rate of the model is missing"
        limits = f"from {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz"
        raise invalid_step_error(what, f"Give rate=16000, {limits}: no model file says its rate")
    seconds = found.get("seconds", "")
    if "seconds" in found and not (
        _SECONDS.fullmatch(seconds) and 0 < float(seconds) <= _MAX_SECONDS
    ):
        what = f"seconds={seconds[:80]!r} is not a length"
        raise invalid_step_error(what, f"Give seconds=1, up to {_MAX_SECONDS:g}")
    if seconds and round(float(seconds) * int(rate)) < 1:
        raise invalid_step_error(f"seconds={seconds} at {int(rate):,} Hz has no sample")
    mean, scale = parse_numbers("mean", found, (1,)), parse_numbers("scale", found, (1,))
    return SoundSteps(int(rate), float(seconds or 0), *(mean or (0.0,)), *(scale or (0.0,)))


def sound_length(name: str, sizes: tuple[int, ...], steps: SoundSteps) -> int:
    """Return the number of values of one sample.

    Args:
        name: name of the input.
        sizes: shape of one sample.
        steps: the preparation.

    Raises:
        FleetmarkError: USAGE: the input does not take sound of one channel, or has another length.
    """
    length = line_length(sizes)
    if not length:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"input {name} {list(sizes)} does not take sound of one channel, such as [16000]",
            OPTION,
            "Import a model that computes its spectrograms itself, or give them as an .npz file",
        )
    wanted = round(steps.seconds * steps.rate_hz)
    if wanted not in (0, length):
        raise invalid_step_error(
            f"seconds={steps.seconds:g} at {steps.rate_hz:,} Hz gives {wanted:,} values, and input "
            f"{name} takes {length:,}"
        )
    return length


def sound_values(sound: WaveFile, length: int, steps: SoundSteps, tensor: Tensor) -> Array:
    """Return the beginning of a sound as values [length] of an input; zeros follow a short one.

    Raises:
        FleetmarkError: USAGE: the type cannot hold the values, or the file has NaN.
    """
    import numpy as np

    made = resampled(sound, steps.rate_hz, length)
    values = np.zeros(length)
    values[: len(made)] = made
    is_real = np.dtype(tensor.dtype).kind == "f" or tensor.quantization is not None
    if not steps.scale and not is_real and tensor.dtype != "int16":
        what = f"input {tensor.name} takes {tensor.dtype}, and sound is from -1 to 1"
        raise invalid_step_error(what, "Give scale=127, or the factor that the model expects")
    values = (values - steps.mean) * (steps.scale or (1.0 if is_real else _INT16))
    if not steps.scale and not is_real:
        # The loudest values do not fit otherwise, and a conversion of the rate overshoots.
        values = np.clip(values, -_INT16, _INT16 - 1)
    return typed(values.astype(np.float32), tensor, sound.where)


def resampled(sound: WaveFile, rate_hz: int, most: int) -> Array:
    """Return the first values of a sound at a rate, as float64 with at most `most` elements.

    `scipy.signal.resample_poly` converts the rate: a polyphase filter with a Kaiser window.
    """
    if sound.rate_hz == rate_hz:
        return sound.mono(most)
    from scipy.signal import resample_poly

    step = math.gcd(rate_hz, sound.rate_hz)
    up, down = rate_hz // step, sound.rate_hz // step
    # What comes later than half the filter after the last value has no influence on it.
    needed = -(-(most * down + _HALF_TAPS * max(up, down)) // up) + 1
    found: Array = resample_poly(sound.mono(needed), up, down, window=_filter(up, down))[:most]
    return found


@lru_cache(maxsize=4)
def _filter(up: int, down: int) -> Array:
    from scipy.signal import firwin

    most = max(up, down)
    taps: Array = firwin(2 * _HALF_TAPS * most + 1, 1.0 / most, window=("kaiser", _KAISER_BETA))
    return taps
