"""Labeled texts of an import: a CSV file, and the tokenizer of the model.

The tokenizer gives ids, a mask and types of tokens. Each is for the input whose name says so.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.label_files import read_classes
from fleetmark_controller.artifacts.labeled_samples.labels import (
    Labels,
    parse_metric,
    read_given_labels,
)
from fleetmark_controller.artifacts.labeled_samples.preprocess import (
    invalid_step_error,
    split_steps,
)
from fleetmark_controller.artifacts.labeled_samples.samples import (
    FittedLabels,
    LabeledOptions,
    PreparedSamples,
    line_length,
    with_length,
)
from fleetmark_controller.artifacts.labeled_samples.text_files import LabeledTexts, read_texts
from fleetmark_controller.artifacts.labeled_samples.token_process import (
    ANSWER,
    DEFINITION,
    IDS,
    MASK,
    REQUEST,
    TYPES,
    TokenCounts,
)
from fleetmark_controller.artifacts.model_formats.model_graph import Tensor
from fleetmark_controller.artifacts.model_import.input_files import converted
from fleetmark_controller.artifacts.model_import.input_roles import Role, is_token_input, role_of
from fleetmark_controller.artifacts.model_import.plan import PlannedInput
from fleetmark_controller.artifacts.model_import.value_archive import read_array, values_error
from fleetmark_controller.evaluation.metrics.names import CLASS_METRICS
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

_MAX_TOKENIZER_BYTES = 64 << 20
_MAX_LENGTH = 1 << 20
_MAX_MEMORY_BYTES = 8 << 30
_PATIENCE_S = 1800.0
_UNKNOWN_SHARE = 0.2
"""Above this share of unknown tokens, the tokenizer is probably another model's."""
_ROLES = {Role.MASK: MASK, Role.TOKEN_TYPE: TYPES}


@dataclass(frozen=True)
class TextSteps:
    """How texts become tokens."""

    tokenizer: Path
    max_length: int = 0
    """0: the length of the input."""
    pad: int | None = None
    """Id of the padding; None: that of the tokenizer."""


@dataclass(frozen=True)
class TextSamples:
    """Texts of a file, with classes."""

    where: str
    labels: Labels
    texts: LabeledTexts
    tensors: Mapping[str, Tensor]
    parts: Mapping[str, str]
    """By input: which array of the tokenizer it gets."""
    steps: TextSteps
    next_step: str = "Give the tokenizer of the model"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, the one with the ids first."""
        return tuple(self.parts)

    def open_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes that the steps give to inputs with an open length."""
        length = self.steps.max_length
        found = {name: with_length(self.tensors[name], length) for name in self.parts}
        return {name: sizes for name, sizes in found.items() if sizes}

    @property
    def count(self) -> int:
        """The number of texts."""
        return len(self.labels)

    def fit_labels(self, planned: Mapping[str, PlannedInput]) -> FittedLabels:
        """Return the classes; see `Samples`."""
        return FittedLabels(self.labels)

    def prepare(self, planned: Mapping[str, PlannedInput]) -> PreparedSamples:
        """Return the values of the inputs; see `Samples`."""
        length = self._length(planned)
        with tempfile.TemporaryDirectory(prefix="fleetmark-tokens-") as scratch:
            folder = Path(scratch)
            answer = tokenize(self.texts, length, self.steps, folder)
            arrays = {}
            for name, part in self.parts.items():
                rows = read_array(folder / part, part)
                entry = planned[name]
                shaped = rows.reshape(len(rows), *entry.array_shape)
                arrays[name] = converted(shaped, entry, self.where)
        return PreparedSamples(arrays, token_notes(answer, len(self.labels), length, self.steps))

    def _length(self, planned: Mapping[str, PlannedInput]) -> int:
        lengths = {name: line_length(planned[name].array_shape) for name in self.parts}
        for name, length in lengths.items():
            if not length or length != next(iter(lengths.values())):
                what = f"input {name} {list(planned[name].array_shape)} does not take the tokens"
                first = next(iter(lengths))
                more = "" if not length else f" of input {first}, which has {lengths[first]:,}"
                raise FleetmarkError(ErrorKind.USAGE, what + more, "--dataset")
        length = next(iter(lengths.values()))
        if self.steps.max_length not in (0, length):
            what = (
                f"max_length={self.steps.max_length}: input {next(iter(lengths))} takes {length:,}"
            )
            raise invalid_step_error(what, f"Give max_length={length}")
        return length


def read_text_samples(
    path: Path,
    name: str,
    tensors: Mapping[str, Tensor],
    others: Collection[str],
    given: LabeledOptions,
) -> TextSamples:
    """Return the texts of a CSV file.

    Args:
        path: the file.
        name: the input that gets the ids; empty if the names of the inputs say it.
        tensors: the inputs of the model by name.
        others: the inputs that `--input` names.
        given: classes, metric and preparation.

    Raises:
        FleetmarkError: USAGE: an option is not valid, the file is damaged, or the inputs are not
            those of a tokenizer.
    """
    import numpy as np

    if given.labels:
        what = "a file of texts has its labels in the last column"
        raise FleetmarkError(ErrorKind.USAGE, what, "--labels", "Leave the option out")
    if not parse_metric(given.metric) and given.metric not in CLASS_METRICS:
        what = f"{given.metric} needs other labels than classes, which texts have"
        next_step = "Give an .npz file with the values of the inputs and y"
        raise FleetmarkError(ErrorKind.USAGE, what, "--metric", next_step)
    steps = parse_text_steps(given.preprocess)
    parts = token_inputs(tensors, name, others)
    classes = read_classes(Path(given.classes)) if given.classes else ()
    texts = read_texts(path, classes)
    labels = read_given_labels(np.array(texts.labels, np.int64), given.metric, str(path))
    return TextSamples(str(path), labels, texts, tensors, parts, steps)


def parse_text_steps(text: str) -> TextSteps:
    """Return the steps of a text such as `tokenizer=tokenizer.json,max_length=128`.

    Raises:
        FleetmarkError: USAGE: a step is unknown, is given twice, or has an invalid value, or the
            tokenizer is missing.
    """
    found = split_steps(text, ("tokenizer", "max_length", "pad"))
    given = found.get("tokenizer", "")
    if Path(given).suffix.lower() not in (".json", ".txt"):
        what = f"tokenizer={given[:80]!r} is not a tokenizer"
        raise invalid_step_error(
            what if "tokenizer" in found else "texts need the tokenizer of the model",
            "Give tokenizer=tokenizer.json, or the vocab.txt of BERT",
        )
    max_length = _whole("max_length", found, 2)
    return TextSteps(Path(given), max_length or 0, _whole("pad", found, 0))


def _whole(key: str, found: Mapping[str, str], least: int) -> int | None:
    if key not in found:
        return None
    text = found[key]
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise invalid_step_error(f"{key}={text[:80]!r} is not a whole number")
    if not least <= int(text) <= _MAX_LENGTH:
        raise invalid_step_error(f"{key}={text} is not from {least} to {_MAX_LENGTH:,}")
    return int(text)


def token_inputs(
    tensors: Mapping[str, Tensor], name: str, others: Collection[str]
) -> dict[str, str]:
    """Return which array of the tokenizer each input gets, the one with the ids first.

    Args:
        tensors: the inputs of the model by name.
        name: the input that gets the ids; empty if the names of the inputs say it.
        others: inputs that get other values.

    Raises:
        FleetmarkError: USAGE: the inputs are not those of a tokenizer.
    """
    left = [tensor for tensor in tensors.values() if tensor.name not in (*others, name)]
    if not name:
        ids = [tensor.name for tensor in left if is_token_input(tensor)]
        ids = ids or [tensor.name for tensor in left if role_of(tensor) is Role.OTHER]
        if len(ids) != 1:
            shown = ", ".join(one[:80] for one in (ids or list(tensors))[:10])
            what = f"{'several inputs' if ids else 'no input'} can have the token ids: {shown}"
            next_step = "Give --dataset NAME=FILE with the input of the ids"
            raise FleetmarkError(ErrorKind.USAGE, what, "--dataset", next_step)
        (name,) = ids
        left = [tensor for tensor in left if tensor.name != name]
    found = {name: IDS}
    for tensor in left:
        part = _ROLES.get(role_of(tensor), "")
        if not part or part in found.values():
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"input {tensor.name}: a tokenizer gives no values for it",
                "--dataset",
                f"Give --input {tensor.name}=… with its values",
            )
        found[tensor.name] = part
    return found


def tokenize(texts: LabeledTexts, length: int, steps: TextSteps, folder: Path) -> TokenCounts:
    """Write the arrays of the tokens of texts into a folder; see `token_process`.

    Args:
        texts: the texts.
        length: number of tokens of each.
        steps: the tokenizer.
        folder: an empty folder.

    Raises:
        FleetmarkError: USAGE: the library for tokenizers is not installed, or the tokenizer is
            damaged, too large, or gives no tokens.
    """
    where = str(steps.tokenizer)
    if importlib.util.find_spec("tokenizers") is None:
        raise FleetmarkError(
            ErrorKind.USAGE,
            "texts need the library tokenizers, which is not installed",
            "--dataset",
            'Install "fleetmark[text]", or give token ids as an .npz file',
        )
    try:
        definition = read_regular(steps.tokenizer, _MAX_TOKENIZER_BYTES)
    except OSError as error:
        raise values_error(where, f"cannot be read: {error.strerror or error}") from error
    (folder / DEFINITION).write_bytes(definition)
    request = {
        "is_vocabulary": steps.tokenizer.suffix.lower() == ".txt",
        "texts": texts.texts,
        "seconds": texts.seconds,
        "length": length,
        "pad": steps.pad,
    }
    (folder / REQUEST).write_text(json.dumps(request), "utf-8")
    try:
        code, last_line = run_process(folder)
    except subprocess.TimeoutExpired as error:
        what = f"takes longer than {_PATIENCE_S:,.0f} s for {len(texts.texts):,} texts"
        raise values_error(where, what) from error
    if code:
        what = f"ended the process of the tokenizer with code {code}: {last_line}"
        raise values_error(where, what[:400])
    answer = json.loads((folder / ANSWER).read_text("utf-8"))
    if "error" in answer:
        raise values_error(where, str(answer["error"]))
    return TokenCounts(**answer)


def run_process(folder: Path) -> tuple[int, str]:
    """Run `token_process` on a folder; return its exit code and the last line of its errors.

    Raises:
        subprocess.TimeoutExpired: it takes too long.
    """
    module = "fleetmark_controller.artifacts.labeled_samples.token_process"
    command = [sys.executable, "-m", module, str(folder), str(_MAX_MEMORY_BYTES)]
    # With -m, Python also imports modules from the working directory.
    done = subprocess.run(
        command, capture_output=True, timeout=_PATIENCE_S, check=False, cwd=folder
    )
    lines = done.stderr.decode("utf-8", "replace").strip()
    return done.returncode, lines.rpartition("\n")[2]


def token_notes(answer: TokenCounts, count: int, length: int, steps: TextSteps) -> tuple[str, ...]:
    """Return sentences about what the tokenizer did to texts.

    Args:
        answer: facts about the tokens.
        count: number of texts.
        length: number of tokens of each.
        steps: the tokenizer.
    """
    notes = []
    name = steps.tokenizer.name
    if answer.lowercase is not None:
        has = (
            "no capital letters: texts are"
            if answer.lowercase
            else "capital letters: texts are not"
        )
        notes.append(f"{name} has {has} lowercased")
    if answer.cut:
        notes.append(f"{answer.cut:,} of {count:,} texts have more than {length:,} tokens: cut")
    if answer.unknown > _UNKNOWN_SHARE * answer.tokens:
        share = answer.unknown / answer.tokens
        notes.append(
            f"{share:.0%} of the tokens are unknown to {name}: it is probably not the tokenizer of "
            "the model"
        )
    return tuple(notes)
