"""Settings of an agent and where they come from."""
