"""Identities, enrollment tokens, the audit log and releases."""
