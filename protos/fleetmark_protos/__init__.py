"""What agents and controllers say to each other: messages, error catalog, channel options."""

PROTOCOL_VERSION = 1
"""Version of the wire protocol. One version older or newer works."""
