"""The gRPC services: one module per service. Only here are messages converted to plain values."""
