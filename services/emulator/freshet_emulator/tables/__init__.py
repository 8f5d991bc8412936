"""Ordinary tables, in SQLite: enough of the dialect for containers to read and append rows."""
