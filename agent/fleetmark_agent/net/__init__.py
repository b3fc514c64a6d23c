"""gRPC connection to the controller."""
