"""The gRPC services, one module per service. Only this package converts messages."""
