"""The controller process: start, home directory, ports and shutdown."""
