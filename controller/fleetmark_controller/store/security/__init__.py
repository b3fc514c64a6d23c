"""Identities, join tokens, the audit log and releases."""
