"""The worker service: wiring, settings, main."""
