"""The front: pushes the agent to devices, starts it there, and keeps their tunnels open.

A front runs on a host that reaches the devices and the controller, under an operator's account. It
is imported by the `agent front` commands alone, never by the daemon of an agent.
"""
