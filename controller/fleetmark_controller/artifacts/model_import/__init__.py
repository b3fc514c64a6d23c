"""Plan the import of a model: shapes, values of its inputs, and its components."""
