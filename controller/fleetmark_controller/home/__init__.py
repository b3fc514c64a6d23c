"""Files in a controller's home that commands on the same host read, and its settings."""
