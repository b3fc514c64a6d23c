"""The key of an attempt, in memory and in file names."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_EPOCH = (1 << 63) - 1
_JOB_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


class LocalAttemptKey(NamedTuple):
    """Job id and epoch: they identify an attempt on this device."""

    job_id: str
    epoch: int

    @property
    def name(self) -> str:
        """File name stem for the files of the attempt."""
        return f"{self.job_id}.{self.epoch}"

    @classmethod
    def from_name(cls, name: str) -> LocalAttemptKey | None:
        """Parse a `name`; return None if it is not the name of a valid key."""
        job_id, _, epoch = name.rpartition(".")
        if not epoch.isascii() or not epoch.isdecimal():
            return None
        key = cls(job_id, int(epoch))
        return key if key.is_valid() and key.name == name else None

    def is_valid(self) -> bool:
        """Return whether the parts are in range, so that `name` is a safe file name."""
        return _JOB_ID.fullmatch(self.job_id) is not None and 0 < self.epoch <= MAX_EPOCH
