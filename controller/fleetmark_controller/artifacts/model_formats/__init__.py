"""Read model files: their inputs, outputs, types and sizes, without a runtime."""
