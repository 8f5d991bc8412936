"""Benchmarks: Freshet and its peers by the same clock, on the same servers, in the same run."""
