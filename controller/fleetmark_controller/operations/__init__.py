"""What can happen to the fleet: each operation is one transaction, with its effects returned.

An operation is a function of the store's connection and of plain values. It sends nothing and
waits for nothing; what must follow its commit (offers, stops, verifying) is collected in
`Effects`. So the same code runs behind gRPC and inside a simulator.
"""
