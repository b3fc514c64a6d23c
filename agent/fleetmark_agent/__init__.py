"""The light service on a board: it measures the board and runs what the controller orders."""

AGENT_VERSION = "0.1.0"
"""Version of the agent; it is in every hello and in every run."""
