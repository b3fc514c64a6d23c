"""State tables and rules for jobs and attempts. Pure: no I/O."""
