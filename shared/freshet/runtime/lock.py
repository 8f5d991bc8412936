"""One process per directory.

Purpose: a lock that the kernel releases with its holder, also after kill -9. Guarantee: whoever is refused
learns who holds it. Never: a lock that must be removed by hand.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from freshet.domain.errors import ConflictError


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory while the context lasts. Raises ConflictError naming the holder's pid."""
    # Not inherited over exec (PEP 446), so no child keeps it after us.
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            raise ConflictError(
                f"Another freshet (pid {holder}) uses {directory}. Stop it, or give --data another directory."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
