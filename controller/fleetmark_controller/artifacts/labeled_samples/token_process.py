"""Turn texts into token ids, in a process of its own: `python -m …token_process FOLDER MEMORY`.

A definition of a tokenizer is a program of a kind: it replaces text by regular expressions, and the
library that runs it is not written in Python. In a process of its own, it can neither use up the
memory nor end the command, and Ctrl-C works.

MEMORY is its limit of virtual memory in bytes. The folder has `definition` (the tokenizer's file)
and `request.json`: `is_vocabulary`, `texts`, `seconds`, `length` and `pad`. The process writes
`ids.npy` [N, length] int32, `mask.npy` and `types.npy` [N, length] uint8, and `answer.json`: an
`TokenCounts`, or `error`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

ANSWER, DEFINITION, REQUEST = "answer.json", "definition", "request.json"
IDS, MASK, TYPES = "ids.npy", "mask.npy", "types.npy"
_BATCH_TEXTS, _BATCH_LETTERS = 1000, 1 << 20
_PADDING = ("[PAD]", "<pad>", "<|pad|>")
_MAX_ID = (1 << 31) - 1


class TokenError(Exception):
    """Raised for a definition or text that gives no tokens, with a message for the operator."""


@dataclass(frozen=True)
class TokenCounts:
    """Facts about the tokens of all texts."""

    cut: int
    """Number of texts that had more tokens."""
    tokens: int
    """Number of tokens, without those that the tokenizer adds to each text."""
    unknown: int
    """How many of them are the token for unknown parts."""
    lowercase: bool | None
    """For a vocabulary: whether texts are lowercased; None if the tokenizer's file says it."""


@dataclass(frozen=True)
class TokenArrays:
    """Arrays [N, length] of the texts."""

    ids: Array
    mask: Array
    types: Array


def encode(
    definition: str,
    is_vocabulary: bool,
    texts: Sequence[str],
    seconds: Sequence[str],
    length: int,
    pad: int | None,
) -> tuple[TokenArrays, TokenCounts]:
    """Return the token ids of texts, cut and padded to one length.

    Args:
        definition: content of a `tokenizer.json`, or of a `vocab.txt` of BERT.
        is_vocabulary: whether it is a vocabulary.
        texts: the texts, or the first ones of pairs.
        seconds: the second texts of pairs; empty if the texts are not pairs.
        length: number of tokens of each text.
        pad: id of the padding; None: that of the tokenizer.

    Raises:
        TokenError: there is no token for the padding, or the length has no room for the tokens of
            a text.
        Exception: the library does not take the definition.
    """
    import numpy as np

    lowercase = None
    if is_vocabulary:
        tokenizer, lowercase = _of_vocabulary(definition)
        unknown = tokenizer.token_to_id("[UNK]")
    else:
        tokenizer, unknown = _of_json(definition)
    padding = tokenizer.padding or {}
    pad = padding.get("pad_id") if pad is None else pad
    if pad is None:
        known = (tokenizer.token_to_id(token) for token in _PADDING)
        pad = next((number for number in known if number is not None), None)
    direction = (tokenizer.truncation or {}).get("direction", "right")
    tokenizer.no_padding()
    tokenizer.enable_truncation(length, strategy="longest_first", direction=direction)
    shape = (len(texts), length)
    made = TokenArrays(
        np.full(shape, pad or 0, np.int32),
        np.zeros(shape, np.uint8),
        np.full(shape, padding.get("pad_type_id", 0), np.uint8),
    )
    cut = tokens = unknowns = 0
    for first, part in _batches(texts, seconds):
        for row, encoding in enumerate(tokenizer.encode_batch(part), first):
            ids = np.array(encoding.ids, np.int64)
            count = len(ids)
            is_own = np.array(encoding.special_tokens_mask) == 0
            if count > length or not count:
                what = f"{count} tokens that cannot be cut to {length:,}" if count else "no token"
                raise TokenError(f"text {row + 1:,} has {what}")
            if count < length and pad is None:
                raise TokenError("the tokenizer names no token for the padding; give pad=ID")
            if ids.max() > _MAX_ID:
                raise TokenError(f"text {row + 1:,} has the token {ids.max()}, which is too large")
            is_left = padding.get("direction") == "left"
            place = slice(length - count, length) if is_left else slice(0, count)
            made.ids[row, place] = ids
            made.mask[row, place] = encoding.attention_mask
            made.types[row, place] = encoding.type_ids
            cut += bool(encoding.overflowing)
            tokens += int(is_own.sum())
            unknowns += int((ids[is_own] == unknown).sum()) if unknown is not None else 0
    if not tokens:
        raise TokenError("no text has a token besides those that the tokenizer adds to each")
    return made, TokenCounts(cut, tokens, unknowns, lowercase)


def _batches(texts: Sequence[str], seconds: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    """Yield texts, or pairs of them, in parts of limited size, each with its first index."""
    first, letters = 0, 0
    part: list[Any] = []
    for number, text in enumerate(texts):
        part.append((text, seconds[number]) if seconds else text)
        letters += len(text) + len(seconds[number] if seconds else "")
        if len(part) == _BATCH_TEXTS or letters >= _BATCH_LETTERS:
            yield first, part
            first, letters, part = number + 1, 0, []
    if part:
        yield first, part


def _of_vocabulary(text: str) -> tuple[Any, bool]:
    """Return the tokenizer of a vocabulary of BERT, and whether it lowercases.

    A vocabulary does not say it: one without capital letters is that of lowercased texts.
    """
    from tokenizers import BertWordPieceTokenizer

    lines = text.removesuffix("\n").split("\n")
    numbers = {line.rstrip("\r"): number for number, line in enumerate(lines)}
    for token in ("[UNK]", "[CLS]", "[SEP]"):
        if token not in numbers:
            raise TokenError(f"the vocabulary has no {token}: it is not one of BERT")
    is_cased = any(
        token.lower() != token for token in numbers if not (token[:1] == "[" and token[-1:] == "]")
    )
    made = BertWordPieceTokenizer(numbers, lowercase=not is_cased)
    return made._tokenizer, not is_cased


def _of_json(text: str) -> tuple[Any, int | None]:
    """Return the tokenizer of a file, and its id for unknown parts; None if it has none."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(text)
    model = json.loads(text)["model"]
    unknown = model.get("unk_id")
    if unknown is None and isinstance(model.get("unk_token"), str):
        unknown = made.token_to_id(model["unk_token"])
    return made, unknown


def main(folder: Path, memory_bytes: int) -> int:
    """Encode the texts of a folder, and return the exit code.

    Args:
        folder: the folder with the request.
        memory_bytes: limit of the virtual memory of this process; 0: none.
    """
    import numpy as np

    request = json.loads((folder / REQUEST).read_text("utf-8"))
    answer: dict[str, Any]
    try:
        definition = (folder / DEFINITION).read_text("utf-8-sig")
        if memory_bytes:
            _limit_memory(memory_bytes)
        made, facts = encode(definition, **request)
        for name, array in ((IDS, made.ids), (MASK, made.mask), (TYPES, made.types)):
            np.save(folder / name, array, allow_pickle=False)
        answer = asdict(facts)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # The library's own errors are plain ones, and a panic in it is not even an `Exception`.
        kind = "" if isinstance(error, TokenError) else f"{type(error).__name__}: "
        answer = {"error": f"{kind}{error}"[:400]}
    (folder / ANSWER).write_text(json.dumps(answer), "utf-8")
    return 0


def _limit_memory(size_bytes: int) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size_bytes, size_bytes))
    except (ImportError, ValueError, OverflowError, OSError):
        return  # not every system has such a limit


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
