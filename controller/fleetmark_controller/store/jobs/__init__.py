"""Campaigns, jobs and attempts."""
