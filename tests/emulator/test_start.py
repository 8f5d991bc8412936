"""How the emulator starts."""

from __future__ import annotations

import subprocess
import sys


def test_the_libraries_of_the_tables_are_not_loaded_before_a_statement_needs_them() -> None:
    program = "import sys, freshet_emulator.app; print({'duckdb', 'sqlglot'} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"
