"""Short-lived child processes for rare work: Python never gives memory back."""

EXIT_BAD_WHEEL = 3
"""A wheel holds what must not be installed; stderr says what."""
EXIT_OS_ERROR = 4
"""The file system refused; stderr begins with the error's number."""
