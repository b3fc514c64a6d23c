"""Data types shared by agents and controllers: capabilities, lockfiles, orders, records, hashes."""
