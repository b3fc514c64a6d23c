"""The controller process: start, settings, home directory, shutdown."""
