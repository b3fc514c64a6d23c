"""Records, runs and the public views."""
