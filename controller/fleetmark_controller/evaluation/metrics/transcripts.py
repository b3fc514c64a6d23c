"""Word and character error rate of recognized speech or text: wer and cer.

An answer is the best token of each step. It becomes a text with greedy decoding for CTC (Graves et
al. 2006, "Connectionist Temporal Classification", section 3.2): equal tokens in succession are
merged, then blanks are dropped. The characters `▁` (SentencePiece) and `|` (wav2vec2) of a token
are spaces. White space is one space, and none at both ends, in texts and in references.

The error rate is the sum of the edit distances (insertions, deletions and substitutions) of all
samples over the sum of the lengths of all references: of words for wer, of characters with spaces
for cer. A sample with an empty reference adds its insertions, and no length. Nothing else is
normalized: case and punctuation count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.evaluation.metrics.names import WER
from fleetmark_controller.evaluation.metrics.stored_labels import LOG, check_indices, read_labels
from fleetmark_controller.evaluation.output_metrics import RecomputedMetric
from fleetmark_controller.loadgen.accuracy_log import AnswerBytes, parse_bytes
from fleetmark_controller.loadgen.errors import IngestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]

ENDS = "-ends"
"""End of the name of an array with the ends of texts in the array of bytes."""
VOCABULARY = "vocabulary"
"""Name of the array with the tokens."""
BLANK = "<blank>"
MAX_TEXT = 100_000
"""Maximum number of characters of a reference."""
MAX_TOKEN = 200
"""Maximum number of characters of a token."""
MAX_TEXTS = 1_000_000
"""Maximum number of references, and of tokens."""
MAX_STEPS = 1 << 17
"""Maximum number of tokens of an answer."""
_SPACES = str.maketrans("▁|", "  ")
_MAX_WORK = 50_000_000
"""Maximum work of all edit distances: characters or words of answers, times 1,024 of references."""


@dataclass(frozen=True)
class Transcripts:
    """The references of all samples, and the tokens."""

    references: tuple[str, ...]
    vocabulary: tuple[str, ...]

    @property
    def blank(self) -> int:
        """The number of the blank: the token `<blank>`, or else the first one."""
        return self.vocabulary.index(BLANK) if BLANK in self.vocabulary else 0


def pack_texts(texts: Sequence[str]) -> tuple[Array, Array]:
    """Return texts as bytes of UTF-8 (uint8), and the end of each text in them (int64)."""
    import numpy as np

    parts = [text.encode() for text in texts]
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    return np.frombuffer(b"".join(parts), np.uint8), ends


def unpack_texts(data: Array, ends: Array) -> tuple[str, ...]:
    """Return the texts that `pack_texts` packed.

    Raises:
        ValueError: they are not such arrays.
    """
    import numpy as np

    if data.dtype != np.uint8 or ends.dtype != np.int64 or data.ndim != 1 or ends.ndim != 1:
        raise ValueError("texts are not uint8 [bytes] with ends of int64 [N]")
    if ends.size > MAX_TEXTS:
        raise ValueError(f"there are {ends.size:,} texts, more than {MAX_TEXTS:,}")
    starts = np.concatenate([[0], ends[:-1]])
    if not ends.size or (ends < starts).any() or starts[0] > ends[0] or ends[-1] != data.size:
        raise ValueError("the ends of texts do not ascend to the size of all texts")
    whole = data.tobytes()
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return tuple(whole[start:end].decode() for start, end in pairs)


def read_transcripts(arrays: Sequence[Array]) -> Transcripts:
    """Return the transcripts in the arrays of `array_names`, in this order.

    Raises:
        ValueError: the arrays are not valid.
    """
    texts, ends, tokens, token_ends = arrays
    vocabulary = unpack_texts(tokens, token_ends)
    references = tuple(map(normalized, unpack_texts(texts, ends)))
    if not any(references):
        raise ValueError("all references are empty")
    if max(map(len, vocabulary)) > MAX_TOKEN or max(map(len, references)) > MAX_TEXT:
        raise ValueError(f"a token has more than {MAX_TOKEN} characters, or a text {MAX_TEXT:,}")
    return Transcripts(references, vocabulary)


def array_names(key: str) -> tuple[str, ...]:
    """Return the names of the arrays of transcripts; `key` is that of the texts."""
    return (key, f"{key}{ENDS}", VOCABULARY, f"{VOCABULARY}{ENDS}")


def load_transcripts(path: Path, key: str) -> Transcripts:
    """Return the transcripts of a data set.

    Raises:
        IngestError: the file has no such arrays.
    """
    found = read_labels(path, array_names(key))
    try:
        return read_transcripts(found)
    except ValueError as error:
        raise IngestError(f"holds no transcripts: {error}", path.name) from error


def recompute_transcripts(
    metric: str, log: Path, labels: Transcripts, expected: int | None = None
) -> RecomputedMetric:
    """Return the error rate of an accuracy log.

    Args:
        metric: `wer` or `cer`.
        log: LoadGen's accuracy log.
        labels: the references and the tokens.
        expected: number of samples according to LoadGen. Completeness is measured against this
            number or that of the references, whichever is higher.

    Raises:
        IngestError: the log is not valid, an answer has an unknown token, all references of
            answered samples are empty, or the texts are too long to be compared.
    """
    given = parse_bytes(log, None)
    check_indices(given.indices, len(labels.references))
    tokens = _tokens(given, len(labels.vocabulary))
    blank = labels.blank
    spelled = [token.translate(_SPACES) for token in labels.vocabulary]
    errors = length = work = 0
    for index, row in zip(given.indices.tolist(), tokens, strict=True):
        wanted = labels.references[index]
        text = decode(row, spelled, blank)
        a: Sequence[str] = wanted.split() if metric == WER else wanted
        b: Sequence[str] = text.split() if metric == WER else text
        work += (1 + len(b)) * (1 + len(a) // 1024)
        if work > _MAX_WORK:
            raise IngestError("has answers whose texts are too long to be compared", LOG)
        errors += edit_distance(a, b)
        length += len(a)
    if not length:
        raise IngestError("the references of all answered samples are empty", LOG)
    count = len(labels.references)
    return RecomputedMetric(errors / length, int(given.indices.size), max(expected or 0, count))


def _tokens(given: AnswerBytes, size: int) -> NDArray[np.int32]:
    import numpy as np

    size_bytes = len(given.data) // len(given.indices)
    if size_bytes % 4 or size_bytes > 4 * MAX_STEPS:
        what = (
            f"has answers of {size_bytes} bytes, expected 4 for each of up to {MAX_STEPS:,} steps"
        )
        raise IngestError(what, LOG)
    tokens = np.frombuffer(given.data, "<i4").reshape(len(given.indices), -1)
    bad = ((tokens < 0) | (tokens >= size)).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        values = tokens[row]
        token = int(values[(values < 0) | (values >= size)][0])
        why = "which NaN scores give" if token == -1 else f"expected 0 to {size - 1:,}"
        sample = int(given.indices[row])
        raise IngestError(f"has the token {token} in the answer to sample {sample}, {why}", LOG)
    return tokens


def decode(tokens: Array, spelled: Sequence[str], blank: int) -> str:
    """Return the text of the best tokens of all steps.

    Args:
        tokens: numbers of tokens [steps].
        spelled: text of each token.
        blank: number of the blank.
    """
    import numpy as np

    is_first = np.concatenate([[True], tokens[1:] != tokens[:-1]])
    kept = tokens[is_first & (tokens != blank)]
    return normalized("".join(map(spelled.__getitem__, kept.tolist())))


def normalized(text: str) -> str:
    """Return a text in which white space is one space, and none at both ends."""
    return " ".join(text.split())


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and substitutions that make `b` of `a`.

    Source: H. Hyyrö, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances"
    (2003), figure 3. Each bit of the integers belongs to an item of `a`.
    """
    if not a or not b:
        return len(a) + len(b)
    places: dict[str, int] = {}
    for place, item in enumerate(a):
        places[item] = places.get(item, 0) | 1 << place
    every, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    rises, falls, distance = every, 0, len(a)
    for item in b:
        equal = places.get(item, 0)
        vertical = equal | falls
        diagonal = (((equal & rises) + rises) ^ rises) | equal
        up = falls | (every & ~(diagonal | rises))
        down = rises & diagonal
        distance += bool(up & last) - bool(down & last)
        up = (up << 1 | 1) & every
        rises = (down << 1 & every) | (every & ~(vertical | up))
        falls = up & vertical
    return distance
