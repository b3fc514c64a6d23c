"""The life of jobs and attempts: pure tables and rules, no I/O."""
