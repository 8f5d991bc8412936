"""Work: a worker's supervisor, its warm child, and one executor for each kind of task.

Purpose: from a claimed bundle to its committed report. Guarantees: user code runs in the child only; an effect on the
engine's Postgres is committed together with its report or not at all. Never: a decision about retries or the graph.
"""
