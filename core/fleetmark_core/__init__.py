"""The component model's light core: facts, locks, orders, records and their digests."""
