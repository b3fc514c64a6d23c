"""A Flower app that does nothing: what `bench/fleet_peers.py` submits."""
