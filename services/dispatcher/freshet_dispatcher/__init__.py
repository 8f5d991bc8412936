"""The dispatcher service: wiring, settings, main."""
