"""Stable runs: cooling, CPU governor, core selection."""
