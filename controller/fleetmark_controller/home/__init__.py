"""What lies in a controller's home for commands on the same host."""
