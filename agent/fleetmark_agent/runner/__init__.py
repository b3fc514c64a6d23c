"""Runs one attempt from its order to its records, in steps that a restarted agent can resume."""
