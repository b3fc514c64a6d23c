"""The results store: SQLite, one writer, migrations, one module an aggregate, public views."""
