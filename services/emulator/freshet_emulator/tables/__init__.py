"""Ordinary tables, in DuckDB: sqlglot reads the statements, what the two of them differ in is settled here."""
