"""SQLite itself: connections, reader pool, group-commit writer, migrations, backup."""
