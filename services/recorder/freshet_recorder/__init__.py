"""Committed facts into logging tables and metrics."""
