"""How a client on this machine finds the newest `freshet up`.

Purpose: `DIR/connection.json` says where an installation is; a register in the user's state directory says
which DIRs there are. Guarantees: both are written atomically and readable by their user alone; an entry whose
`up` no longer holds its directory's lock is ignored, so nothing stale is ever found. Never: a secret in the
register.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

FILE = "connection.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """What `connection.json` holds."""

    url: str
    token: str
    database_url: str
    redis_url: str
    pids: Mapping[str, list[int]] = field(default_factory=dict)  # by service; a worker's is its supervisor's


def write(connection: Connection, directory: Path) -> Path:
    """Replace `DIR/connection.json` in one step."""
    return _replace(directory / FILE, asdict(connection))


def read(directory: Path) -> Connection | None:
    """What the directory's `up` wrote, None when there is none."""
    try:
        return Connection(**orjson.loads((directory / FILE).read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError):
        return None


def remove(directory: Path) -> None:
    """Take the file and the register's entry back, when an `up` ends."""
    (directory / FILE).unlink(missing_ok=True)
    _entry(directory).unlink(missing_ok=True)


def register(directory: Path) -> None:
    """Make this directory the newest `up` of the user. Raises OSError when there is no place for it."""
    register_directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    _replace(_entry(directory), {"data": str(directory.resolve())})


def newest() -> Connection | None:
    """The connection of the `up` that was registered last and still runs."""
    entries = register_directory().glob("*.json")
    for entry in sorted(entries, key=lambda each: each.stat().st_mtime_ns, reverse=True):
        directory = Path(orjson.loads(entry.read_bytes())["data"])
        if held(directory) and (found := read(directory)):
            return found
    return None


def held(directory: Path) -> bool:
    """Whether a living process holds the directory's lock (`freshet.runtime.lock`)."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def register_directory() -> Path:
    """`$XDG_STATE_HOME/freshet/up`, by default below ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "freshet" / "up"


def _entry(directory: Path) -> Path:
    name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
    return register_directory() / f"{name}.json"


def _replace(path: Path, content: Mapping[str, object]) -> Path:
    # mkstemp makes the file with mode 0600, and rename keeps it
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(orjson.dumps(dict(content), option=orjson.OPT_INDENT_2))
    Path(temporary).replace(path)
    return path
