"""Identities of devices and operators: certificates, tokens, roles and permissions."""
