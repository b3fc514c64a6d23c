"""The SQLite layer: connections, reader pool, group-commit writer, migrations and backup."""
