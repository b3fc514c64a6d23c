"""The agent: the light service that measures a device and runs the controller's orders on it."""

from fleetmark_core.version import VERSION

AGENT_VERSION = VERSION
"""Version of the agent; it is in every hello and in every run."""
