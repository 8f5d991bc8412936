"""The CEL interpreter: the only place that imports the library.

Purpose: load `cel` (the Rust interpreter that common-expression-language wraps) when the first expression
is compiled. Guarantee: its command line, with prompt_toolkit, pygments, typer and rich behind it (0.5 s and
15 MB per process), is not imported along. Never: a decision about what an expression may say.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
import types

_importing = threading.Lock()


@functools.cache
def load() -> types.ModuleType:
    """The `cel` module.

    `cel/__init__.py` imports its own command line; an empty module stands in for it during the import and
    is taken away again, so that user code that wants the command line still gets the real one.
    """
    with _importing:
        if "cel" in sys.modules:
            return sys.modules["cel"]
        sys.modules["cel.cli"] = types.ModuleType("cel.cli")
        try:
            return importlib.import_module("cel")
        finally:
            del sys.modules["cel.cli"]
