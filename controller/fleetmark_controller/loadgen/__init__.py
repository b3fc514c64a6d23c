"""Reads the logs that LoadGen writes."""
