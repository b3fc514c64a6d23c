"""How both commands speak to a person: tables, --json, errors and exit codes, homes, logging."""
