"""Bugs to plant, and the tests that have to go red for each.

Purpose: a suite that has never failed is unproven. `python -m tests.mutants` plants one bug at a time in a copy of the
tree, runs the tests that are named for it, and expects them to fail. To add a table: write a module with `MUTANTS` and
name it in `TABLES`.
"""

from . import core, door, eager, snowflake, store
from .mutant import Mutant

TABLES = (core.MUTANTS, door.MUTANTS, eager.MUTANTS, snowflake.MUTANTS, store.MUTANTS)
MUTANTS: tuple[Mutant, ...] = tuple(mutant for table in TABLES for mutant in table)
