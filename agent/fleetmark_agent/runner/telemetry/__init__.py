"""Sampling of the board while a job runs."""
