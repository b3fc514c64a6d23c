"""Columns of the public views `runs` and `results` that come from table run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlite_utils.db import Database

_SOURCES = {"runs": ("FROM run JOIN job", "{}"), "results": ("FROM key\n", "p.{}")}
"""By view: the text that follows its last column, and the form of a column of the run."""

_SAME_KEY = """SELECT job_id FROM job other WHERE other.campaign_id = job.campaign_id
            AND other.configuration_key = job.configuration_key
            AND other.repetition = job.repetition"""
# The last join of the second part finds no run: the only official run of the job is `a`.
_RESULTS = """CREATE VIEW results AS
        SELECT {columns}
        FROM run p JOIN job ON job.job_id = p.job_id
        LEFT JOIN run a ON a.official = 1 AND a.mode = 'accuracy' AND a.device = p.device
            AND a.job_id IN ({same_key})
        WHERE p.official = 1 AND p.mode = 'performance'
        UNION ALL
        SELECT {columns}
        FROM run a JOIN job ON job.job_id = a.job_id
        LEFT JOIN run p ON p.official = 1 AND p.mode = 'performance' AND p.job_id = a.job_id
        WHERE a.official = 1 AND a.mode = 'accuracy' AND NOT EXISTS (SELECT 1 FROM run
            WHERE run.official = 1 AND run.mode = 'performance' AND run.device = a.device
            AND run.job_id IN ({same_key}))"""
"""A row for each official performance run with the accuracy run of the same campaign, device,
configuration and repetition, and one for each official accuracy run without such a run."""


def append_columns(db: Database, columns: Mapping[str, Sequence[str]]) -> None:
    """Recreate views with further columns at their end.

    Args:
        db: the store.
        columns: columns of table run by view; view `results` has those of the performance run.

    Raises:
        RuntimeError: the text of a view is not what the earlier migrations wrote.
    """
    for view, names in columns.items():
        after, form = _SOURCES[view]
        sql = str(db[view].schema)
        added = ", ".join(form.format(column) for column in names)
        if view == "results" and "UNION ALL" in sql:
            renewed = results_view(f"{_between(sql, 'SELECT ', 'FROM run p')}, {added}")
        else:
            head, found, tail = sql.rpartition(after)
            if not found:
                raise _unknown_error(view, after)
            renewed = f"{head.rstrip()}, {added}\n        {found}{tail}"
        db.conn.execute(f"DROP VIEW {view}")
        db.conn.execute(renewed)


def results_view(columns: str) -> str:
    """Return the statement that creates view `results`.

    Args:
        columns: the columns, in which `p` is the performance run, `a` the accuracy run, and `job`
            the job of the one that the row begins with.
    """
    return _RESULTS.format(columns=columns, same_key=_SAME_KEY)


def old_results_columns(sql: str) -> str:
    """Return the columns of a view `results` that begins with keys, for `results_view`.

    Raises:
        RuntimeError: it is not such a view.
    """
    columns = "key.campaign_id" + _between(sql, "SELECT key.campaign_id", "FROM key\n")
    columns = columns.replace("key.device", "coalesce(p.device, a.device) AS device", 1)
    return columns.replace("key.", "job.")


def _between(sql: str, before: str, after: str) -> str:
    _, found, rest = sql.partition(before)
    columns, ended, _ = rest.partition(after)
    if not found or not ended:
        raise _unknown_error("results", after)
    return columns.strip()


def _unknown_error(view: str, after: str) -> RuntimeError:
    return RuntimeError(f"view {view} has no {after.strip()!r}")
