"""The container side: compute pools with node slots, jobs, and their containers as local processes."""
