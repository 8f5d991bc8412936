"""The pure core: what a workflow is, and what follows from what.

Values in, values out, standard library only. Never: I/O, a clock, randomness.
"""
