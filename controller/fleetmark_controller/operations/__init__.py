"""State changes of the fleet: each operation runs in one transaction and returns its effects.

An operation is a function of the store's connection and of plain values. It sends nothing and
waits for nothing. Actions that must follow its commit (offers, stops, evaluations) are collected
in `Effects`. The same code therefore runs behind gRPC and inside a simulator.
"""
