"""Command-line parts shared by both commands: tables, JSON, errors, exit codes, homes, logging."""
