"""Exit codes of a job, and the errors that lead to them."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from typing import NoReturn

DONE = 0
"""The run ended. LoadGen's INVALID is also a result."""
FAULT = 1
"""Any fault without an exit code of its own."""
BAD_JOB = 10
"""The job file is missing or not valid, or asks for what the runtime or the CPU does not offer."""
BAD_INPUT = 11
"""An input (model, data set) is not valid."""
NO_RUNTIME = 12
"""The runtime or LoadGen cannot be loaded."""
LOADGEN_FAILED = 13
"""LoadGen failed, or one of its callbacks raised an exception."""
NO_MEMORY = 14
"""Out of memory."""
NO_SPACE = 15
"""No space left for the results."""


# C++ runtimes report a failed allocation as their own error type: std::bad_alloc; "Failed to
# allocate memory for requested buffer of size 4294967296" (ONNX Runtime); "Cannot allocate memory".
# A runtime that does not know the shape of a tensor cannot allocate it either: that is no lack.
OUT_OF_MEMORY = (
    r"bad[_ ]alloc|\bMemoryError\b|\bENOMEM\b|out of memory|(not enough|insufficient) memory"
    r"|memory allocation failed|memory exhausted"
    r"|(failed|unable|not able|tried) to allocate(?! tensors)"
    r"|(cannot|can not|could not|can't|couldn't) allocate(?! tensors)"
)
_FAILED_ALLOCATION = re.compile(OUT_OF_MEMORY, re.IGNORECASE)
_MAX_LINE = 1_000


class JobError(Exception):
    """An error that ends the job with an exit code and one line for users."""

    def __init__(self, code: int, what: str) -> None:
        """Store the exit code, and `what`, which says what is wrong and where."""
        super().__init__(what)
        self.code = code
        self.what = what


def code_of(error: BaseException, otherwise: int) -> int:
    """Return the exit code for an error, or `otherwise` if it has none."""
    if isinstance(error, JobError):
        return error.code
    if isinstance(error, MemoryError) or _FAILED_ALLOCATION.search(str(error)):
        return NO_MEMORY
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NO_SPACE
    return otherwise


def one_line(error: BaseException) -> str:
    """Return the message of an error as one line, with the end of a long one: it has the cause."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MAX_LINE else f"{text[:200]} … {text[-(_MAX_LINE - 203) :]}"


def report_error(error: BaseException, where: str) -> None:
    """Write an error to stderr; the last line is the message.

    A traceback is written only for unexpected errors.
    """
    if not isinstance(error, JobError):
        traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.write(f"fleetmark: {where}: {one_line(error)}\n")
    sys.stderr.flush()


def abort_process(error: BaseException, where: str) -> NoReturn:
    """End the process from inside a LoadGen callback.

    An exception must not propagate through LoadGen: the process would then crash at exit, or wait
    forever for queries that never complete.
    """
    report_error(error, where)
    sys.stdout.flush()
    os._exit(code_of(error, LOADGEN_FAILED))
