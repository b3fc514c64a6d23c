"""Cached blobs, environments and unpacked archives, shared by all jobs."""
