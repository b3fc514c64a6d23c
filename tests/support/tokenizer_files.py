"""Small tokenizers, written without a library: files, and what they give."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def word_tokenizer(words: Sequence[str], **changes: Any) -> str:
    """Return a `tokenizer.json` whose tokens are whole words between spaces.

    Args:
        words: the words, whose ids follow those of `SPECIAL`.
        changes: replaced keys of the file.
    """
    tokens = [*SPECIAL, *words]

    def special(token: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": kind}}

    def sequence(name: str, kind: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)]
    table = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, sequence("B", 1), special("[SEP]", 1)],
            "special_tokens": {
                token: {"id": token, "ids": [tokens.index(token)], "tokens": [token]}
                for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "unk_token": "[UNK]",
        },
    }
    return json.dumps({**table, **changes})


def word_ids(words: Sequence[str], text: str, length: int) -> tuple[list[int], list[int]]:
    """Return the ids and the mask that `word_tokenizer` gives for a text, without its library."""
    tokens = [*SPECIAL, *words]
    own = [tokens.index(word) if word in words else 1 for word in text.split()][: length - 2]
    ids = [2, *own, 3]
    return ids + [0] * (length - len(ids)), [1] * len(ids) + [0] * (length - len(ids))
