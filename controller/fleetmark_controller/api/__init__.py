"""The gRPC edge: one module a service; messages become plain values here and nowhere else."""
