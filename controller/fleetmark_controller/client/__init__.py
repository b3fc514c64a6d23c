"""What commands use to talk to a controller."""
