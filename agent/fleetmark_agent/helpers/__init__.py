"""Short-lived child processes for rare work, because Python never returns memory."""

EXIT_BAD_WHEEL = 3
"""Exit code: a wheel or archive must not be installed; stderr says why."""
EXIT_OS_ERROR = 4
"""Exit code: a file system error; stderr begins with its errno."""
