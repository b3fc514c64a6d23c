"""The results store: SQLite with one writer, migrations, one module per aggregate, public views."""
