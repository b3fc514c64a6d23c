"""Devices: what they are and what operators decided about them."""
