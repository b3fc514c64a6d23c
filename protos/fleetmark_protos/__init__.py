"""The wire protocol between agents and controllers: messages, error statuses, channel options."""

PROTOCOL_VERSION = 1
"""Version of the wire protocol. Peers that are one version older or newer are supported."""
