"""Short-lived child processes for rare work, because Python never returns memory."""

from fleetmark_core.helper_exit_codes import EXIT_BAD_WHEEL, EXIT_OS_ERROR

__all__ = ["EXIT_BAD_WHEEL", "EXIT_OS_ERROR"]
