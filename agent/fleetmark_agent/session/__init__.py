"""The protocol as a pure state machine, its events, actions and messages."""
