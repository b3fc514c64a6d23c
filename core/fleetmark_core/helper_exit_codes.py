"""Exit codes of the processes that install wheels and unpack archives."""

EXIT_BAD_WHEEL = 3
"""A wheel or archive must not be installed; stderr says why."""
EXIT_OS_ERROR = 4
"""A file system error; stderr begins with its errno."""
