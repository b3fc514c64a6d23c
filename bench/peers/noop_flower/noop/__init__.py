"""A no-op Flower app, submitted by `bench/fleet_peers.py`."""
