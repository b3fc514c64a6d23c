"""Blobs, environments and archives that jobs share."""
