"""The name of one try at a job, in memory and on disk."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_EPOCH = (1 << 63) - 1
_JOB_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


class AttemptKey(NamedTuple):
    """One try at a job, as this device tells them apart."""

    job_id: str
    epoch: int

    @property
    def name(self) -> str:
        """A file name for what belongs to the attempt."""
        return f"{self.job_id}.{self.epoch}"

    @classmethod
    def from_name(cls, name: str) -> AttemptKey | None:
        """The key whose `name` this is; None if it is no such name."""
        job_id, _, epoch = name.rpartition(".")
        if not epoch.isascii() or not epoch.isdecimal():
            return None
        key = cls(job_id, int(epoch))
        return key if key.is_valid() and key.name == name else None

    def is_valid(self) -> bool:
        """Whether the parts are such that `name` is a plain file name."""
        return _JOB_ID.fullmatch(self.job_id) is not None and 0 < self.epoch <= MAX_EPOCH
