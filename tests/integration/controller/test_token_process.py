"""The process that turns texts into tokens: whatever a tokenizer does, the command goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetmark_controller.artifacts.labeled_samples import texts, token_process
from fleetmark_controller.artifacts.labeled_samples.text_files import LabeledTexts
from fleetmark_controller.artifacts.labeled_samples.texts import TextSteps, tokenize
from fleetmark_controller.artifacts.labeled_samples.token_process import TokenCounts
from fleetmark_controller.artifacts.model_import.value_archive import read_array
from fleetmark_core.errors import FleetmarkError
from tests.support.tokenizer_files import word_tokenizer

TEXTS = LabeledTexts(("good film", "a\ud7ff good"), (), (1, 0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def write(folder: Path, **changes: Any) -> TextSteps:
    path = folder.parent / "tokenizer.json"
    path.write_text(word_tokenizer(["good", "film"], **changes))
    return TextSteps(path)


def test_tokens_come_from_another_process(folder: Path) -> None:
    assert tokenize(TEXTS, 5, write(folder), folder) == TokenCounts(0, 4, 1, None)
    ids = read_array(folder / token_process.IDS, "")
    assert ids.tolist() == [[2, 4, 5, 3, 0], [2, 1, 4, 3, 0]]


def test_a_tokenizer_that_fills_the_memory_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 60 steps doubles the text."""
    monkeypatch.setattr(texts, "_MAX_MEMORY_BYTES", 3 << 29)
    double = {"type": "Replace", "pattern": {"String": "o"}, "content": "oo"}
    steps = write(folder, normalizer={"type": "Sequence", "normalizers": [double] * 60})
    with pytest.raises(FleetmarkError, match=r"tokenizer\.json: ") as caught:
        tokenize(TEXTS, 5, steps, folder)
    assert "ended the process of the tokenizer" in str(caught.value) or "error" in str(caught.value)


def test_a_tokenizer_that_takes_too_long_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "_PATIENCE_S", 0.01)
    with pytest.raises(FleetmarkError, match="takes longer than 0 s for 2 texts"):
        tokenize(TEXTS, 5, write(folder), folder)


def test_modules_of_the_working_directory_are_not_imported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "tokenizers.py").write_text("raise SystemExit(9)")
    (folder.parent / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(folder.parent)
    assert tokenize(TEXTS, 5, write(folder), folder).tokens == 4
    assert json.loads((folder / token_process.ANSWER).read_text())["tokens"] == 4
