"""Labeled texts of an import: tokens exactly as the tokenizer's file says, hostile files refused.

The process of the tokenizer runs inside this one; see tests/integration/controller.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.artifacts.labeled_samples import (
    label_files,
    text_files,
    token_process,
)
from fleetmark_controller.artifacts.labeled_samples import texts as text_samples
from fleetmark_controller.artifacts.labeled_samples.labeled_inputs import read_labeled_inputs
from fleetmark_controller.artifacts.labeled_samples.samples import LabeledOptions
from fleetmark_controller.artifacts.labeled_samples.text_files import read_texts
from fleetmark_controller.artifacts.labeled_samples.texts import parse_text_steps
from fleetmark_controller.artifacts.model_formats.model_graph import GraphFacts, Tensor
from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_import.input_files import FileInputs
from fleetmark_controller.artifacts.model_import.plan import plan_import
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.model_files import sparse
from tests.support.tokenizer_files import word_ids, word_tokenizer

Array = npt.NDArray[Any]
WORDS = ("good", "bad", "film", "the", "very")
NAMES = ("input_ids", "attention_mask", "token_type_ids")
TEXTS = 'text,label\nthe film good,1\n"the, film\nvery very very bad",0\nfilm,2\n'
LIST = [["the film good"], ["the, film\nvery very very bad"], ["film"]]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        text_samples, "run_process", lambda folder: (token_process.main(folder, 0), "")
    )


def model(
    shape: tuple[int, ...] = (0, 6),
    dtype: str = "int64",
    names: tuple[str, ...] = NAMES,
    table: int = 0,
) -> OnnxDescription:
    symbols = ("n", *[""] * (len(shape) - 1))
    facts = GraphFacts(lookups=[("table", names[0], 0)] if table else [])
    if table:
        facts.add_weight("table", "float32", (table, 4))
    tensors = tuple(Tensor(name, dtype, shape, symbols) for name in names)
    return OnnxDescription(8, 17, tensors, (Tensor("y", "float32", (0, 3), ("n", "")),), (), facts)


def read(
    described: OnnxDescription,
    dataset: str = "texts.csv",
    steps: str = "tokenizer=tokenizer.json",
    *,
    inputs: tuple[str, ...] = (),
    texts: str | None = TEXTS,
    **options: str,
) -> FileInputs:
    """Read the samples, and check that the controller accepts what they became."""
    if texts is not None:
        Path("texts.csv").write_text(texts)
    if not Path("tokenizer.json").exists():
        Path("tokenizer.json").write_text(word_tokenizer(WORDS))
    given = LabeledOptions(dataset, preprocess=steps, **options)
    found = read_labeled_inputs(described, (), inputs, (), given)
    plan_import(described, found.shapes, found.inputs, arrays=found.heads)
    return found


def refused(described: OnnxDescription, *arguments: str, **options: Any) -> str:
    with pytest.raises(FleetmarkError) as caught:
        read(described, *arguments, **options)
    assert caught.value.kind is ErrorKind.USAGE
    return f"{caught.value} {caught.value.next_step}"


def by_input(described: OnnxDescription, found: FileInputs) -> dict[str, Array]:
    plan = plan_import(described, found.shapes, found.inputs, arrays=found.heads)
    sources = {one.name: one.values for one in (plan.sample, *plan.constants)}
    return {
        name: found.arrays[values.source]
        for name, values in sources.items()
        if values is not None and values.source
    }


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("shape", [(0, 6), (0, 0), (1, 6)])
def test_texts_become_tokens(dtype: str, shape: tuple[int, ...]) -> None:
    described = model(shape, dtype)
    found = read(described, steps="tokenizer=tokenizer.json,max_length=6")
    arrays = by_input(described, found)
    assert list(arrays) == list(NAMES)
    assert {array.dtype.name for array in arrays.values()} == {dtype}
    assert arrays["input_ids"].tolist() == [
        [2, 7, 6, 4, 3, 0],
        [2, 1, 6, 8, 8, 3],
        [2, 6, 3, 0, 0, 0],
    ]
    assert arrays["attention_mask"].tolist() == [[1] * 5 + [0], [1] * 6, [1] * 3 + [0] * 3]
    assert not arrays["token_type_ids"].any()
    assert found.arrays["y"].tolist() == [1, 0, 2]
    assert found.notes == ("1 of 3 texts have more than 6 tokens: cut",)


def test_pairs_have_types_of_tokens() -> None:
    described = model((0, 8))
    texts = "label,note,text2,text\n1,x,very bad,film\n0,y,good good good good good,film bad bad\n"
    arrays = by_input(described, read(described, texts=texts))
    assert arrays["input_ids"].tolist() == [[2, 6, 3, 8, 5, 3, 0, 0], [2, 6, 5, 3, 4, 4, 4, 3]]
    assert arrays["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]]
    plain = "film,very bad,1\nfilm bad bad,good good good good good,0\n"
    again = by_input(described, read(described, texts=plain))
    assert all(np.array_equal(again[name], arrays[name]) for name in NAMES)


def test_a_vocabulary_of_bert() -> None:
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "film", "##s", "good")
    Path("vocab.txt").write_text("\n".join(words) + "\n")
    described = model((0, 6), names=NAMES[:2])
    found = read(described, steps="tokenizer=vocab.txt", texts="Films GOOD,1\nf\u00eflm,0\n")
    assert by_input(described, found)["input_ids"].tolist() == [
        [2, 4, 5, 6, 3, 0],
        [2, 4, 3, 0, 0, 0],
    ]
    assert found.notes == ("vocab.txt has no capital letters: texts are lowercased",)
    Path("vocab.txt").write_text("\n".join((*words, "Good")) + "\n")
    found = read(described, steps="tokenizer=vocab.txt", texts="films Good,1\n")
    assert by_input(described, found)["input_ids"].tolist() == [[2, 4, 5, 7, 3, 0]]
    assert found.notes == ("vocab.txt has capital letters: texts are not lowercased",)
    Path("vocab.txt").write_text("a\nb\n")
    assert "has no [UNK]" in refused(described, steps="tokenizer=vocab.txt")


def test_padding_is_that_of_the_file() -> None:
    padding = {
        "strategy": "BatchLongest",
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 9,
        "pad_type_id": 3,
        "pad_token": "[PAD]",
    }
    cut = {"direction": "Left", "max_length": 512, "strategy": "OnlyFirst", "stride": 7}
    Path("tokenizer.json").write_text(word_tokenizer(WORDS, padding=padding, truncation=cut))
    described = model((0, 5))
    arrays = by_input(described, read(described))
    assert arrays["input_ids"].tolist() == [[2, 7, 6, 4, 3], [2, 8, 8, 5, 3], [9, 9, 2, 6, 3]]
    assert arrays["attention_mask"][2].tolist() == [0, 0, 1, 1, 1]
    assert arrays["token_type_ids"][2].tolist() == [3, 3, 0, 0, 0]
    arrays = by_input(described, read(described, steps="tokenizer=tokenizer.json,pad=4"))
    assert arrays["input_ids"][2].tolist() == [4, 4, 2, 6, 3]


def test_a_tokenizer_without_padding_needs_one() -> None:
    text = word_tokenizer(WORDS).replace("[PAD]", "[NONE]")
    Path("tokenizer.json").write_text(text)
    assert "give pad=ID" in refused(model())
    steps = "tokenizer=tokenizer.json,pad=0"
    assert read(model(), steps=steps).arrays["x"][2].tolist() == [2, 6, 3, 0, 0, 0]
    # All texts fill the length.
    assert len(read(model((0, 3)), texts="film,1\n").arrays["x"]) == 1


def test_another_models_tokenizer_has_a_note_or_is_refused() -> None:
    notes = read(model(), texts="un known words,1\nfilm good,0\n").notes
    assert notes == (
        "60% of the tokens are unknown to tokenizer.json: it is probably not the tokenizer of the "
        "model",
    )
    assert not read(model(), texts="film bad the very unknown,1\n").notes[1:]
    says = refused(model(table=6))
    assert "input input_ids: 8 is outside the table of 6" in says
    assert "Give the tokenizer of the model" in says
    assert read(model(table=9))


@pytest.mark.parametrize(
    ("names", "inputs", "says"),
    [
        (("input_ids", "position_ids"), (), "input position_ids: a tokenizer gives no values"),
        (("input_ids", "position_ids"), ("position_ids=zeros",), ""),
        (("input_ids", "attention_mask", "global_attention_mask"), (), "global_attention_mask"),
        (("input_ids", "decoder_input_ids"), (), "several inputs can have the token ids"),
        (("input_ids", "decoder_input_ids"), ("decoder_input_ids=ones",), ""),
        (("first", "second"), (), "several inputs can have the token ids: first, second"),
        (("some_mask", "some_length"), (), "no input can have the token ids"),
        (("words",), (), ""),
        (("x",), (), ""),
        (("serving_default_input_ids:0", "serving_default_input_mask:0"), (), ""),
    ],
)
def test_inputs_are_chosen_by_their_names(
    names: tuple[str, ...], inputs: tuple[str, ...], says: str
) -> None:
    described = model(names=names)
    if says:
        assert says in refused(described, inputs=inputs)
    else:
        found = by_input(described, read(described, inputs=inputs))
        assert found[names[0]][:, 0].tolist() == [2, 2, 2]


def test_a_name_gives_the_input_of_the_ids() -> None:
    described = model(names=("input_1", "input_2_mask"))
    found = by_input(described, read(described, "input_1=texts.csv"))
    assert found["input_1"][2].tolist() == [2, 6, 3, 0, 0, 0]
    assert found["input_2_mask"][2].tolist() == [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("", "texts need the tokenizer of the model"),
        ("max_length=6", "texts need the tokenizer"),
        ("tokenizer=tokenizer.model", "is not a tokenizer"),
        ("tokenizer=", "is not a tokenizer"),
        ("tokenizer=missing.json", "missing.json: cannot be read"),
        ("tokenizer=tokenizer.json,max_length=7", "input input_ids takes 6"),
        ("tokenizer=tokenizer.json,max_length=1", "is not from 2"),
        ("tokenizer=tokenizer.json,max_length=9999999", "is not from 2"),
        ("tokenizer=tokenizer.json,max_length=\u0663", "is not a whole number"),
        ("tokenizer=tokenizer.json,pad=-1", "is not a whole number"),
        ("tokenizer=tokenizer.json,resize=3", "is not a step"),
    ],
)
def test_steps_that_are_not_valid_are_refused(steps: str, says: str) -> None:
    assert says in refused(model(), steps=steps)


def test_lengths_that_do_not_fit_are_refused() -> None:
    assert "text 1 has 5 tokens that cannot be cut to 2" in refused(
        model((0, 2)), texts="film,film,1\n"
    )
    assert "no text has a token besides" in refused(model((0, 2)), texts="film,1\n")
    assert "open dimensions" in refused(model((0, 0)))
    assert "does not take the tokens" in refused(model((0, 2, 3)))
    symbols = ("n", "")
    tensors = (
        Tensor("input_ids", "int64", (0, 6), symbols),
        Tensor("attention_mask", "int64", (0, 5), symbols),
    )
    described = OnnxDescription(8, 17, tensors, model().outputs, (), GraphFacts())
    says = refused(described)
    assert "attention_mask [5] does not take the tokens of input input_ids, which has 6" in says
    assert "MiB of values" in refused(model((0, 1_000_000)), texts="film,1\n" * 1000)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"labels": "labels.csv"}, "Leave the option out"),
        ({"metric": "mae"}, "mae needs other labels than classes, which texts have"),
        ({"classes": "missing.txt"}, "missing.txt: cannot be read"),
    ],
)
def test_options_that_do_not_fit_texts_are_refused(options: Mapping[str, str], says: str) -> None:
    assert says in refused(model(), **options)


def test_the_library_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    says = refused(model())
    assert "library tokenizers, which is not installed" in says
    assert 'Install "fleetmark[text]"' in says


# Files.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no texts"),
        ("text,label\n", "has no texts"),
        ("film\n", "texts.csv:1: has 1 columns"),
        ("a,b,c,d\n", "has 4 columns"),
        ("film,1\nfilm,1,1\n", "texts.csv:2: has 3 columns, expected 2"),
        ("film,1\n ,1\n", "texts.csv:2: has an empty text"),
        ("film,,1\n", "texts.csv:1: has an empty text"),
        ("film,good\n", "'good' is not a class"),
        ("film,-1\n", "'-1' is not a class"),
        ("film,1.0\n", "'1.0' is not a class"),
        ("film,nan\n", "'nan' is not a class"),
        ("film,3\n", "class 3, and output y has 3 classes"),
        ('"film,1\n', "is not CSV"),
        ("x" * 200_000 + ",1\n", "is not CSV"),
    ],
)
def test_damaged_files_of_texts_are_refused_by_line(text: str, says: str) -> None:
    assert says in refused(model(), texts=text)


def test_large_and_strange_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "texts.csv"
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not text in UTF-8" in refused(model(), texts=None)
    path.unlink()
    sparse(path, 1 << 40)
    assert "larger than" in refused(model(), texts=None)
    path.unlink()
    os.mkfifo(path)
    assert "it is a FIFO" in refused(model(), texts=None)
    path.unlink()
    monkeypatch.setattr(text_files, "MAX_SAMPLES", 5)
    assert read(model(), texts="film,1\n" * 5)
    assert "has more than 5 texts" in refused(model(), texts="film,1\n" * 6)


def test_hostile_tokenizers_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    deep = '{"model":' * 200
    for text in ("", "{}", "[]", "null", "[" * 100_000, deep, '{"model": {"type": "Nothing"}}'):
        path.write_text(text)
        assert "tokenizer.json: " in refused(model())
    path.write_bytes(b"\xff\xfe\x00")
    assert "UnicodeDecodeError" in refused(model())
    path.unlink()
    sparse(path, 1 << 30)
    assert "larger than" in refused(model())
    path.unlink()
    os.mkfifo(path)
    assert "it is a FIFO" in refused(model())


def test_a_tokenizer_that_fails_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        """As of the library: not an `Exception`."""

    def panic(text: str) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr(token_process, "_of_json", panic)
    assert "tokenizer.json: PanicException: index out of bounds" in refused(model())
    monkeypatch.setattr(text_samples, "run_process", lambda folder: (-6, "memory allocation"))
    assert "with code -6: memory allocation" in refused(model())


def test_ids_and_lengths_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    assert "which is too large" in refused_with({"film": (1 << 32) - 1})
    Path("tokenizer.json").write_text(word_tokenizer(WORDS, post_processor=None))
    assert read(model()).arrays["x"][2].tolist() == [6, 0, 0, 0, 0, 0]
    nothing = {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
    Path("tokenizer.json").write_text(word_tokenizer(WORDS, normalizer=nothing))
    assert "no text has a token besides" in refused(model(), texts="film,1\n")
    Path("tokenizer.json").write_text(
        word_tokenizer(WORDS, normalizer=nothing, post_processor=None)
    )
    assert "text 1 has no token" in refused(model(), texts="film,1\n")


def refused_with(words: Mapping[str, int]) -> str:
    table = json.loads(word_tokenizer(WORDS))
    table["model"]["vocab"] |= words
    Path("tokenizer.json").write_text(json.dumps(table))
    return refused(model())


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS, st.integers(0, 9)), min_size=1, max_size=6), st.booleans())
def test_texts_that_a_csv_writer_wrote_are_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]], pairs: bool
) -> None:
    rows = [row for row in rows if row[0].strip() and row[1].strip()]
    path = tmp_path_factory.mktemp("csv") / "texts.csv"
    header = ["Text", "text2", "label"] if pairs else ["Text", "label"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(row if pairs else (row[0], row[2]) for row in rows)
    if not rows:
        return
    found = read_texts(path)
    assert list(found.texts) == [row[0] for row in rows]
    assert list(found.seconds) == ([row[1] for row in rows] if pairs else [])
    assert list(found.labels) == [row[2] for row in rows]


@pytest.mark.fuzz("texts and labels (CSV)")
@given(st.binary(max_size=80) | st.text('text,2label"\n\r\t 019', max_size=60).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("csv") / "texts.csv"
    path.write_bytes(data)
    try:
        found = read_texts(path)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
        assert "texts.csv" in error.where
    else:
        assert len(found.labels) == len(found.texts) > 0
        assert len(found.seconds) in (0, len(found.texts))
        assert all(text.strip() for text in (*found.texts, *found.seconds))
        assert all(0 <= label < label_files.MAX_CLASSES * 10 for label in found.labels)


@given(
    st.lists(st.lists(st.sampled_from((*WORDS, "other")), min_size=1, max_size=9), min_size=1),
    st.integers(3, 8),
)
def test_tokens_are_those_of_the_words(texts: list[list[str]], length: int) -> None:
    lines = [" ".join(words) for words in texts]
    made, answer = token_process.encode(word_tokenizer(WORDS), False, lines, (), length, None)
    wanted = [word_ids(WORDS, line, length) for line in lines]
    assert made.ids.tolist() == [ids for ids, _ in wanted]
    assert made.mask.tolist() == [mask for _, mask in wanted]
    assert answer.cut == sum(len(words) > length - 2 for words in texts)
    kept = [word for words in texts for word in words[: length - 2]]
    assert (answer.tokens, answer.unknown) == (len(kept), kept.count("other"))


@given(st.text(alphabet="tokenizrmax_lghpd=,:.0123456789-js", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        steps = parse_text_steps(text)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
    else:
        assert steps.tokenizer.suffix.lower() in (".json", ".txt")


def test_batches_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_process, "_BATCH_LETTERS", 30)
    monkeypatch.setattr(token_process, "_BATCH_TEXTS", 3)
    texts = ["a", "bb", "c" * 40, "d", "e", "f", "g"]
    found = list(token_process._batches(texts, ()))
    assert [(first, len(part)) for first, part in found] == [(0, 3), (3, 3), (6, 1)]
    pairs = [pair for _, part in token_process._batches(texts, texts) for pair in part]
    assert pairs == list(zip(texts, texts, strict=True))
