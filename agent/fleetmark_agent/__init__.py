"""The agent: the light service that measures a device and runs the controller's orders on it."""

AGENT_VERSION = "0.1.0"
"""Version of the agent; it is in every hello and in every run."""
