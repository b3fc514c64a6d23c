"""wer and cer, from LoadGen's log, the vocabulary and the transcripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.artifacts.labeled_samples.labels import LABELS, stored_labels
from fleetmark_controller.artifacts.labeled_samples.transcript_labels import (
    check_steps,
    step_count,
    transcript_arrays,
)
from fleetmark_controller.artifacts.model_import.plan import PlannedOutput
from fleetmark_controller.artifacts.model_import.value_archive import write_archive
from fleetmark_controller.evaluation.metrics.transcripts import (
    MAX_STEPS,
    MAX_TEXTS,
    Transcripts,
    array_names,
    decode,
    edit_distance,
    normalized,
    pack_texts,
    read_transcripts,
    unpack_texts,
)
from fleetmark_controller.evaluation.recomputation import Recomputed, Reference, recompute
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_core.errors import FleetmarkError
from tests.unit.controller.test_class_metrics import log_of
from tests.unit.controller.test_labeled_data import model, npz, pictures, read, refused

Array = npt.NDArray[Any]
__all__ = ["pictures"]
VOCABULARY = ("<blank>", "▁a", "b", "▁c", "d", "|", "ee")
# The values that jiwer 4.0 gave for `case(seed)`: wer and cer over the lists of texts.
JIWER = {
    0: (0.5066666666666667, 0.2289156626506024),
    1: (0.38202247191011235, 0.1867704280155642),
    2: (0.5274725274725275, 0.25691699604743085),
    3: (0.45454545454545453, 0.225),
    4: (0.5432098765432098, 0.25925925925925924),
    5: (0.4146341463414634, 0.19291338582677164),
}


def case(seed: int) -> tuple[list[str], Array]:
    """Return references, none of which is empty, and tokens [12, 20]."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(0, len(VOCABULARY), (12, 20)).astype(np.int32)
    references = []
    for row in tokens:
        kept = np.where(draw.random(20) < 0.8, row, draw.integers(0, 7, 20))
        references.append(text_of(kept) or "a")
    return references, tokens


def text_of(tokens: Any) -> str:
    """Decode for CTC, one step after another."""
    text, before = "", None
    for token in map(int, tokens):
        if token not in (before, 0):
            text += VOCABULARY[token]
        before = token
    return " ".join(text.replace("▁", " ").replace("|", " ").split())


def measured(
    folder: Path, metric: str, references: Any, tokens: Array, vocabulary: Any = VOCABULARY
) -> Recomputed:
    texts = Transcripts(tuple(references), tuple(vocabulary))
    write_archive(folder / "values.npz", transcript_arrays(texts, "y"))
    return recompute(
        metric, log_of(folder, tokens), Reference(folder / "values.npz", "y", "tensors")
    )


@pytest.mark.parametrize("seed", JIWER)
def test_error_rates_are_those_of_jiwer(tmp_path: Path, seed: int) -> None:
    references, tokens = case(seed)
    for metric, value in zip(("wer", "cer"), JIWER[seed], strict=True):
        found = measured(tmp_path, metric, references, tokens)
        assert found.value == pytest.approx(value, abs=1e-12)
        assert (found.total, found.complete) == (12, True)


@pytest.mark.parametrize("seed", range(40))
def test_error_rates_are_those_of_the_installed_jiwer(tmp_path: Path, seed: int) -> None:
    jiwer = pytest.importorskip("jiwer")
    references, tokens = case(seed)
    texts = [text_of(row) for row in tokens]
    for metric in ("wer", "cer"):
        value = getattr(jiwer, metric)(references, texts)
        assert measured(tmp_path, metric, references, tokens).value == pytest.approx(value)


ITEMS = st.lists(st.sampled_from("abc"), max_size=80)


@given(ITEMS, ITEMS)
def test_the_edit_distance_is_that_of_the_table(a: list[str], b: list[str]) -> None:
    row = list(range(len(b) + 1))
    for place, one in enumerate(a, 1):
        before, row[0] = row[0], place
        for column, other in enumerate(b, 1):
            before, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, before + (one != other)),
            )
    assert edit_distance(a, b) == edit_distance(b, a) == row[-1]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_equal_steps_are_merged_and_blanks_dropped(tokens: list[int]) -> None:
    spelled = [token.replace("▁", " ").replace("|", " ") for token in VOCABULARY]
    assert decode(np.array(tokens), spelled, 0) == text_of(tokens)


def test_the_blank_is_named_or_the_first_token() -> None:
    assert Transcripts(("a",), ("a", "b", "<blank>")).blank == 2
    assert Transcripts(("a",), ("<pad>", "b")).blank == 0


def test_an_empty_reference_adds_insertions_only(tmp_path: Path) -> None:
    tokens = np.array([[1, 3], [1, 3]], np.int32)
    assert measured(tmp_path, "wer", ["", "a c"], tokens).value == pytest.approx(2 / 2)
    assert measured(tmp_path, "cer", ["", "a c"], tokens).value == pytest.approx(3 / 3)
    with pytest.raises(IngestError, match="references of all answered samples are empty"):
        measured(tmp_path, "wer", ["", "a c"], tokens[:1])


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (np.array([[1, -1], [1, 2]], np.int32), "token -1 in the answer to sample 0, which NaN"),
        (np.array([[1, 2], [1, 7]], np.int32), "token 7 in the answer to sample 1, expected 0 to"),
        (np.array([[1, -7]], np.int32), "token -7"),
        (np.zeros((3, 2), np.int32), "names sample 2"),
        (np.zeros((0, 2), np.int32), "no answers"),
        (np.zeros((2, 3), np.uint8), "answers of 3 bytes"),
        (np.zeros((1, MAX_STEPS + 1), np.int32), "up to 131,072 steps"),
    ],
)
def test_hostile_answers_are_refused(tmp_path: Path, tokens: Array, says: str) -> None:
    with pytest.raises(IngestError, match=says):
        measured(tmp_path, "wer", ["a", "b"], tokens)


def test_texts_that_take_too_long_are_refused(tmp_path: Path) -> None:
    vocabulary = ("<blank>", "x" * 200, "y" * 200)
    tokens = np.tile(np.array([1, 2], np.int32), (4, 50_000))
    with pytest.raises(IngestError, match="too long to be compared"):
        measured(tmp_path, "cer", ["a" * 5000] * 4, tokens, vocabulary)
    assert measured(tmp_path, "wer", ["a b"] * 4, tokens, vocabulary).value == 1.0


@given(st.lists(st.text(max_size=20), min_size=1, max_size=8))
def test_packed_texts_are_unpacked(texts: list[str]) -> None:
    wanted = [text.encode("utf-8", "ignore").decode() for text in texts]
    assert unpack_texts(*pack_texts(wanted)) == tuple(wanted)


@given(
    st.binary(max_size=12),
    st.lists(st.integers(-2, 14), max_size=5),
    st.sampled_from([np.int64, np.int32, np.uint8]),
)
def test_any_arrays_are_read_or_refused(data: bytes, ends: list[int], dtype: Any) -> None:
    texts, tokens = np.frombuffer(data, np.uint8), pack_texts(("a", "b"))
    try:
        found = read_transcripts([texts, np.array(ends).astype(dtype), *tokens])
    except ValueError:
        return
    assert len(found.references) == len(ends)
    assert any(found.references)


def test_more_texts_than_samples_are_refused() -> None:
    data = np.zeros(0, np.uint8)
    assert len(unpack_texts(data, np.zeros(MAX_TEXTS, np.int64))) == MAX_TEXTS
    with pytest.raises(ValueError, match="1,000,001 texts, more than 1,000,000"):
        unpack_texts(data, np.zeros(MAX_TEXTS + 1, np.int64))


# The import.


def tokens_of(folder: Path, text: str = "<blank>\n▁a\n \nb\t-3.2\n") -> str:
    (folder / "tokens.txt").write_text(text)
    return str(folder / "tokens.txt")


def test_transcripts_of_an_archive_are_the_lines_of_a_file(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.zeros((2, 7), np.float32))
    (tmp_path / "texts.txt").write_text("a  b\n\n")
    options = {"labels": str(tmp_path / "texts.txt"), "classes": tokens_of(tmp_path)}
    for metric in ("wer", "cer"):
        found = read(model((0, 7), classes=(9, 4)), path, metric=metric, **options)
        assert set(found.arrays) == {"x", *array_names("y")}
        texts = read_transcripts([found.arrays[name] for name in array_names("y")])
        assert texts == Transcripts(("a b", ""), ("<blank>", "▁a", " ", "b"))
        write_archive(tmp_path / "values.npz", found.arrays)
        assert stored_labels(tmp_path / "values.npz", metric).transcripts == texts
    (tmp_path / "texts.txt").write_text("a\n")
    refused(model((0, 7), classes=(9, 4)), path, "1 labels in", metric="wer", **options)
    (tmp_path / "texts.txt").write_text("\n\n")
    refused(model((0, 7), classes=(9, 4)), path, "no transcript", metric="wer", **options)
    (tmp_path / "texts.txt").write_text("a" * 100_001)
    refused(model((0, 7), classes=(9, 4)), path, "more than 100,000", metric="wer", **options)
    refused(model((0, 7), classes=(9, 4)), path, "expected x and y", metric="top-1")
    path = npz(tmp_path, x=np.zeros((2, 7), np.float32), y=np.zeros(2))
    refused(model((0, 7), classes=(9, 4)), path, "expected x", metric="wer", **options)


def test_transcripts_of_pictures_are_lines_of_a_csv_file(pictures: Path) -> None:
    labels = pictures.parent / "texts.csv"
    labels.write_text('file,text\nb.png,"a, b"\na.png,a\nmore/c.jpg,\n')
    options = {"labels": str(labels), "metric": "cer"}
    found = read(model(classes=(5, 4)), pictures, classes=tokens_of(pictures.parent), **options)
    texts = read_transcripts([found.arrays[name] for name in array_names(LABELS)])
    assert texts.references == ("a", "a, b", "")
    refused(model(classes=(5, 4)), pictures, "needs the tokens", **options)
    labels.write_text("b.png,a, b\n")
    options["classes"] = tokens_of(pictures.parent)
    refused(model(classes=(5, 4)), pictures, "has 3 columns, expected name and text", **options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\n\nb\n", "tokens.txt:2: has no token of 1 to 200"),
        ("a\n" + "b" * 201, "tokens.txt:2: has no token of 1 to 200"),
        ("a\nb\na\t-1\n", "tokens.txt:3: has the token 'a' of line 1 again"),
        ("a\nb\nc\n", "does not fit 3 tokens"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = npz(tmp_path, x=np.zeros((2, 7), np.float32))
    (tmp_path / "texts.txt").write_text("a\nb\n")
    options = {"labels": str(tmp_path / "texts.txt"), "classes": tokens_of(tmp_path, text)}
    refused(model((0, 7), classes=(9, 4)), path, says, metric="wer", **options)


def test_steps_of_an_output() -> None:
    def steps(*sizes: int, dtype: str = "float32") -> int | None:
        return step_count(PlannedOutput("y", dtype, (1, *sizes), 0), 4)

    assert (steps(9, 4), steps(4, 9), steps(9, dtype="int64")) == (9, 9, 9)
    assert steps(0, 4) is None
    for sizes in ((9,), (9, 5), (2, 9, 4)):
        with pytest.raises(FleetmarkError, match="does not fit 4 tokens"):
            steps(*sizes)
    with pytest.raises(FleetmarkError, match="2 axes that may be the tokens") as caught:
        steps(4, 4)
    assert "ArgMax" in caught.value.next_step


def test_the_size_of_the_output_must_be_known_in_the_end() -> None:
    texts = Transcripts(("a",) * 1000, VOCABULARY)
    unknown = PlannedOutput("y", "float32", (1, 0, 7), 0)
    check_steps(texts, unknown)
    for sizes in ((9, 7), (1, 9, 7), (3,)):
        check_steps(texts, PlannedOutput("y", "float32", sizes, None))
    for output in (unknown, PlannedOutput("y", "float32", (1, 9, 7), None)):
        with pytest.raises(FleetmarkError, match="that only a run shows"):
            check_steps(texts, output, is_final=True)
    check_steps(texts, PlannedOutput("y", "float32", (1, 8000, 7), 0), is_final=True)
    with pytest.raises(FleetmarkError, match="accuracy log of 68 MiB"):
        check_steps(texts, PlannedOutput("y", "float32", (1, 9000, 7), 0))
    with pytest.raises(FleetmarkError, match="more than 131,072"):
        check_steps(texts, PlannedOutput("y", "float32", (1, 200_000, 7), 0))


def test_white_space_is_one_space() -> None:
    assert normalized(" a\t b\n") == "a b"
