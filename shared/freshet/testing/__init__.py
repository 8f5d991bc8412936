"""What tests stand on: real servers found or started, never part of a service."""
