"""Sample output in documents, compared with what the commands print today."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_VARIES = (
    # The processor of the machine that the commands run on, after its system.
    (re.compile(r"( GNU/Linux \d+ +)\S.*?( +\d+ +[\d.]+ GiB\b)"), r"\1CPU\2"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f-]*…"), "ID"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]+"), "ID"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\d+ (?:h \d+ min|min(?: \d+ s)?|s)\b"), "DURATION"),
    (re.compile(r"\d[\d,.]*(?: [KMG]i?B)?"), "N"),
    (re.compile(r"[─-]{2,}"), "LINE"),
    (re.compile(r"\s+"), " "),
)
_STATE = re.compile(r" (?:ACTIVE|QUEUED|SUCCEEDED) .*$")
_PROGRESS = re.compile(r"(\[N/N\] .*?) (active|succeeded|queued\b.*|[a-z]+,? .*)$")


def sample_outputs(document: str) -> list[str]:
    """Return the blocks of a document without a language, which show output of commands."""
    return [text for language, text in _BLOCK.findall(document) if not language]


def unmatched_lines(sample: str, printed: str) -> list[str]:
    """Return lines of a sample that no printed line matches, ignoring figures, ids and times.

    A line may be shortened by `…`, and a line of `…` alone stands for any others. What a job does
    at a moment is not compared: that is a matter of time.
    """
    lines = {_form(line) for line in printed.splitlines()}
    missing = []
    for line in sample.splitlines():
        form = _form(line)
        if not form or form == "…":
            continue
        pattern = re.compile(".*".join(map(re.escape, form.split("…"))))
        if not any(pattern.fullmatch(found) for found in lines):
            missing.append(line)
    return missing


def _form(line: str) -> str:
    form = line.strip()
    for pattern, name in _VARIES:
        form = pattern.sub(name, form)
    return _PROGRESS.sub(r"\1", _STATE.sub("", form))
