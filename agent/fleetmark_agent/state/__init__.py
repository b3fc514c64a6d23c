"""Durable state in the agent's home."""
