"""The sandbox findings of `agent doctor`."""
