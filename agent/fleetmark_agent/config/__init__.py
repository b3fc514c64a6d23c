"""Settings of an agent and their sources."""
