"""Sampling of the device while a job runs."""
