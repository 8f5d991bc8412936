"""The engine beside a small model of it: what both can say has to agree after every step.

`machine.py` drives the real passes on real Postgres and Redis, `book.py` is the model, in words of its own, `plans.py`
the workflows they are given. `test_races.py` holds what a machine of one thread can't see: two transactions at once.
"""

#: Variables by which `python -m tests.model` tells the test how long to run. They stand here, since pytest wants to
#: load hypothesis itself.
EXAMPLES, STEPS = "FRESHET_MODEL_EXAMPLES", "FRESHET_MODEL_STEPS"
