"""The boards on which jobs can run, as the other parts of the store read them."""

from __future__ import annotations

OPTIONS = """(SELECT job.job_id, option_row.* FROM job JOIN option_row USING (option_set))
    AS job_option"""
"""A row for each job and each of its boards; jobs that have the same share the rows beneath."""
