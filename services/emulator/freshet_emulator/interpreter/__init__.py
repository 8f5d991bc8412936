"""Statements to results: what each statement does to sessions, catalog, platform and tables."""

from freshet_emulator.interpreter.interpreter import Interpreter

__all__ = ["Interpreter"]
