"""The front door: definitions, requests, events in, reads, the live feed."""
