"""Transcripts of samples, for wer and cer, and the outputs that they fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.label_files import (
    read_lines,
    read_texts,
    read_tokens,
)
from fleetmark_controller.artifacts.model_import.input_roles import FLOATS
from fleetmark_controller.artifacts.model_import.plan import PlannedOutput
from fleetmark_controller.artifacts.model_import.value_archive import read_member, values_error
from fleetmark_controller.evaluation.metrics.stored_labels import answers_log_bytes, fits_log
from fleetmark_controller.evaluation.metrics.transcripts import (
    ENDS,
    MAX_STEPS,
    MAX_TEXT,
    MAX_TOKEN,
    VOCABULARY,
    Transcripts,
    array_names,
    normalized,
    pack_texts,
    read_transcripts,
)
from fleetmark_controller.loadgen.limits import MAX_ACCURACY_BYTES
from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

_ARGMAX = "End the graph with ArgMax over the tokens, so that the output is the token of each step"


def given_transcripts(
    labels: str, classes: str, metric: str, names: Sequence[str] = ()
) -> Transcripts:
    """Return the transcripts in the files of an operator.

    Args:
        labels: value of `--labels`: a CSV file with lines `file,text`, or without names of files a
            text file with one transcript a line.
        classes: value of `--classes`: the tokens, one a line.
        metric: the metric.
        names: names of the samples' files, in the order of the samples.

    Raises:
        FleetmarkError: USAGE: an option is missing, a file is damaged, a text is missing or too
            long, or all are empty.
    """
    for option, value, what in (
        ("--labels", labels, "transcripts"),
        ("--classes", classes, "the tokens of the model's outputs, one a line"),
    ):
        if not value:
            raise FleetmarkError(
                ErrorKind.USAGE, f"{metric} needs {what}", option, f"Give {option} FILE"
            )
    tokens = read_tokens(Path(classes), MAX_TOKEN)
    if names:
        texts = read_texts(Path(labels), names)
        found = [texts[name] for name in names]
    else:
        found = read_lines(Path(labels))
    references = tuple(map(normalized, found))
    if max(map(len, references)) > MAX_TEXT:
        raise values_error(labels, f"has a transcript of more than {MAX_TEXT:,} characters")
    if not any(references):
        raise values_error(labels, "has no transcript that is not empty")
    return Transcripts(references, tokens)


def transcript_arrays(transcripts: Transcripts, key: str) -> dict[str, Array]:
    """Return transcripts as arrays of an archive, by name; `key` is that of the texts."""
    texts, ends = pack_texts(transcripts.references)
    tokens, token_ends = pack_texts(transcripts.vocabulary)
    return {
        key: texts,
        f"{key}{ENDS}": ends,
        VOCABULARY: tokens,
        f"{VOCABULARY}{ENDS}": token_ends,
    }


def stored_transcripts(path: Path, key: str, where: str) -> Transcripts:
    """Return the transcripts in an archive of values.

    Raises:
        FleetmarkError: USAGE: it has none, or ones that are not valid.
    """
    found = [read_member(path, name, where) for name in array_names(key)]
    try:
        return read_transcripts(found)
    except ValueError as error:
        raise values_error(where, f"has transcripts that are not valid: {error}") from error


def step_count(output: PlannedOutput, tokens: int) -> int | None:
    """Return the number of steps of an output; None if its sizes are not known before a run.

    Args:
        output: the first output.
        tokens: number of tokens.

    Raises:
        FleetmarkError: USAGE: it has neither a score for each step and token, nor a token for each
            step, or it has as many steps as tokens, so that its axes are ambiguous.
    """
    sizes = tuple(size for axis, size in enumerate(output.sizes) if axis != output.batch_axis)
    if output.batch_axis is None or not output.sizes or not all(sizes):
        return None
    if len(sizes) == 1 and output.dtype not in FLOATS:
        return sizes[0]
    if sizes == (tokens, tokens):
        what = f"output {output.name} {list(sizes)} of a sample has 2 axes that may be the tokens"
        raise FleetmarkError(ErrorKind.USAGE, what, "--classes", _ARGMAX)
    if len(sizes) == 2 and tokens in sizes:
        return sizes[0] if sizes[1] == tokens else sizes[1]
    what = f"output {output.name} {list(sizes)} of a sample does not fit {tokens} tokens"
    next_step = "Expected are scores [steps, tokens], or integers [steps], and one token a line"
    raise FleetmarkError(ErrorKind.USAGE, what, "--classes", next_step)


def check_steps(transcripts: Transcripts, output: PlannedOutput, *, is_final: bool = False) -> None:
    """Check transcripts against the first output and the size of LoadGen's accuracy log.

    Args:
        transcripts: the transcripts.
        output: the first output.
        is_final: True if no run will show sizes that the file leaves open.

    Raises:
        FleetmarkError: USAGE: the output does not fit them, its sizes are not known, or the log
            would be too large.
    """
    steps = step_count(output, len(transcripts.vocabulary))
    count = len(transcripts.references)
    if steps is None or output.batch_axis is None:
        if not is_final:
            return
        what = f"output {output.name} has sizes or a batch axis that only a run shows"
        next_step = "Import it with the trial, and give --shape or --batch-axis"
        raise FleetmarkError(ErrorKind.USAGE, what, "--metric", next_step)
    if steps > MAX_STEPS:
        what = f"output {output.name} has {steps:,} steps, more than {MAX_STEPS:,}"
        raise FleetmarkError(ErrorKind.USAGE, what, "--metric")
    if not fits_log(count, 4 * steps):
        total = answers_log_bytes(count, 4 * steps)
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{count:,} answers of {steps:,} steps make an accuracy log of {total >> 20} MiB, more "
            f"than {MAX_ACCURACY_BYTES >> 20}",
            "--labels",
            "Give fewer samples",
        )
