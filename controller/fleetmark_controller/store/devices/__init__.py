"""Devices: their identity and capabilities, and what operators set for them."""
