"""Stable runs: cooling, settings of the device, core selection."""
