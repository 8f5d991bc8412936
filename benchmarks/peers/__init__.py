"""Peers: one module each, run in an environment of its own, which speaks the protocol of `session`."""
