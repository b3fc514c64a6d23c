"""Checks the published results of a round against a committed table of what is expected.

    python bench/mlperf_results.py --results CHECKOUT --round v5.1
    python bench/mlperf_results.py --results CHECKOUT --round v5.1 --write --official CSV

CHECKOUT is a work tree of mlcommons/inference_results_<round>, which is no part of this project;
only digests of its logs are, in `bench/mlperf_results/<round>.tsv.gz`. Every log of an edge system
is read, and every edge result is checked by MLPerf's rules. It prints what differs from the table,
and ends with 1 if anything does, or if a log that LoadGen calls VALID is refused. `--write` makes
the table anew; CSV is what the round's official submission checker wrote for the same tree.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fleetmark_controller.loadgen import consistency
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.loadgen_log import parse_detail
from fleetmark_controller.mlperf.check_result import CheckedResult
from fleetmark_controller.mlperf.layout import DETAIL
from fleetmark_controller.mlperf.problems import NOTICE
from fleetmark_controller.mlperf.rules import CHECKED_ROUNDS, EDGE
from fleetmark_controller.mlperf.validate import check_tree

TABLES = Path(__file__).parent / "mlperf_results"
ACCEPTED, REFUSED, UNKNOWN = "accepted", "refused", "unknown"
_RESULT, _LOG = "result", "log"
_PUBLISHED_DIGITS = 1e-5


class Row(NamedTuple):
    """One line of the table.

    Of a log: its path, sha256, LoadGen's verdict (or the mode, if it has none) and ours. Of a
    result: its folder, its figure, whether it was measured or inferred, our verdict and that of the
    official checker.
    """

    kind: str
    path: str
    value: str
    note: str
    verdict: str
    official: str = ""


@dataclass(frozen=True)
class Found:
    """Contents of a checkout: its rows, and the reasons of each refusal by path."""

    rows: tuple[Row, ...]
    reasons: Mapping[str, tuple[str, ...]]


def examine(results: Path, round_name: str, official: Mapping[str, str]) -> Found:
    """Read every log of an edge system and check every edge result.

    Args:
        results: the work tree.
        round_name: the round.
        official: the official checker's verdict by folder.
    """
    checked = [
        result for result in check_tree(results, round_name).results if EDGE in result.system_type
    ]
    rows: list[Row] = []
    reasons: dict[str, tuple[str, ...]] = {}
    for result in checked:
        texts = tuple(str(problem) for problem in result.problems if problem.level != NOTICE)
        reasons[result.folder] = texts
        verdict = official.get(result.folder, REFUSED if official else UNKNOWN)
        rows.append(_result_row(result, refused=bool(texts), official=verdict))
    for path in sorted(set(_logs(results, checked))):
        row, texts = _log_row(results, path)
        rows.append(row)
        reasons[path] = texts
    return Found(tuple(sorted(rows)), reasons)


def _result_row(result: CheckedResult, *, refused: bool, official: str) -> Row:
    figure = "" if result.figure is None else f"{result.figure:.12g}"
    note = "inferred" if result.inferred else "measured"
    return Row(_RESULT, result.folder, figure, note, REFUSED if refused else ACCEPTED, official)


def _logs(root: Path, checked: Sequence[CheckedResult]) -> Iterator[str]:
    """Yield the detail logs of results and of their compliance tests."""
    for result in checked:
        for folder in {result.folder, result.folder.replace("/results/", "/compliance/", 1)}:
            for path in (root / folder).rglob(DETAIL):
                yield path.relative_to(root).as_posix()


def _log_row(root: Path, path: str) -> tuple[Row, tuple[str, ...]]:
    """Return the row of a log; what LoadGen calls VALID must not be contradicted by us."""
    sha256 = hashlib.sha256((root / path).read_bytes()).hexdigest()
    try:
        log = parse_detail(root / path)
    except IngestError as error:
        return Row(_LOG, path, sha256, "", REFUSED), (str(error),)
    if log.result is None:
        return Row(_LOG, path, sha256, log.settings.mode, ACCEPTED), ()
    percentile = log.settings.target_percentile
    texts = (
        *consistency.official_figures(log, log.result, percentile),
        *consistency.figures(log, log.result),
    )
    if log.result.validity == "VALID":
        texts += tuple(consistency.denials(log, log.result))
    return Row(_LOG, path, sha256, log.result.validity, REFUSED if texts else ACCEPTED), texts


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the table, the same bytes for the same rows."""
    text = "\n".join("\t".join(row) for row in rows) + "\n"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def read_table(path: Path) -> tuple[Row, ...]:
    """Read the table of a round."""
    text = gzip.decompress(path.read_bytes()).decode()
    return tuple(Row(*line.split("\t")) for line in text.splitlines())


def differences(expected: Sequence[Row], found: Found) -> Iterator[str]:
    """Yield differences between a checkout and the table, except in the official verdict."""
    known = {(row.kind, row.path): row for row in expected}
    have = {(row.kind, row.path): row for row in found.rows}
    for key in sorted(known.keys() | have.keys()):
        before, now = known.get(key), have.get(key)
        if before is None or now is None:
            yield f"{key[1]}: is not in the {'table' if before is None else 'checkout'}"
        elif before[:5] != now[:5]:
            why = "; ".join(found.reasons.get(key[1], ())[:3])
            yield f"{key[1]}: is {now[2:5]}, expected {before[2:5]}{f' ({why})' if why else ''}"


def unpublished(results: Path, found: Found) -> Iterator[str]:
    """Yield where a figure differs from the one that MLCommons published for the result."""
    path = results / "summary_results.json"
    if not path.is_file():
        return
    rows = {row.path: row for row in found.rows if row.kind == _RESULT}
    for entry in json.loads(path.read_text()):
        row = rows.get(entry["Location"])
        if EDGE not in entry["Suite"]:
            continue
        if row is None:
            yield f"{entry['Location']}: was published, but is not in the checkout"
            continue
        published, figure = float(entry["Performance_Result"]), float(row.value or "nan")
        if not abs(published - figure) <= _PUBLISHED_DIGITS * published:
            yield f"{row.path}: {figure:g}, published as {published:g}"
        if (row.note == "inferred") != bool(entry["inferred"]):
            yield f"{row.path}: is {row.note}, published as inferred={entry['inferred']}"


def wrongly_refused(rows: Sequence[Row]) -> list[str]:
    """Return the logs that LoadGen calls VALID and we refuse: there must be none."""
    return [
        row.path
        for row in rows
        if row.kind == _LOG and row.verdict == REFUSED and row.note != "INVALID"
    ]


def disagreements(rows: Sequence[Row]) -> list[Row]:
    """Return the results on which the official checker's verdict differs."""
    return [
        row for row in rows if row.kind == _RESULT and row.official not in (UNKNOWN, row.verdict)
    ]


def _official(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    with path.open(newline="") as file:
        return {row["Location"]: ACCEPTED for row in csv.DictReader(file)}


def main() -> int:
    """Check a checkout, or write its table."""
    parser = argparse.ArgumentParser(description="Check the published results of a round.")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--round", required=True, choices=CHECKED_ROUNDS)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--official", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    table = options.table or TABLES / f"{options.round}.tsv.gz"
    if not options.results.is_dir():
        parser.error(f"there is no folder {options.results}")
    if not options.write and not table.is_file():
        parser.error(f"there is no table {table}; --write makes one")
    found = examine(options.results, options.round, _official(options.official))
    counts = Counter((row.kind, row.verdict) for row in found.rows)
    for (kind, verdict), count in sorted(counts.items()):
        print(f"{count:6} {kind}s {verdict}")
    wrong = [f"{path}: VALID, but refused" for path in wrongly_refused(found.rows)]
    wrong += unpublished(options.results, found)
    if options.write:
        write_table(table, found.rows)
        for row in disagreements(found.rows):
            print(f"official {row.official}: {row.path}: {found.reasons[row.path][:2]}")
    else:
        wrong += differences(read_table(table), found)
    print("\n".join(wrong or ["as expected"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
