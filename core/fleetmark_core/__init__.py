"""Data types of agents and controllers: capabilities, lockfiles, orders, records and digests."""
