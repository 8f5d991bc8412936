"""In-memory twins of Postgres and Redis: the real verbs over dictionaries.

Purpose: the simulator drives the real passes over them, thousands of histories a minute. Guarantees: every public verb
of a twin is written here, none is inherited from the part that it stands for; the same contract tests and the same
random scripts run against twin and real part. Never: a wait, a clock, a thread or a chance of its own.
"""
