"""Backups of a controller's home, and their restoration.

A backup is a home of its own with a manifest (`backup.json`) beside it.
"""
