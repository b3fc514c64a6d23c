"""The long-lived process: wiring, event loop, status file."""
