"""Keys that devices trust, releases, signed orders and packs."""
