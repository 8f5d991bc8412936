"""Databases, schemas, warehouses and roles: names only, kept over a restart."""

from __future__ import annotations

import threading

from freshet_emulator.errors import missing, taken
from freshet_emulator.state import StateStore

DEFAULT_DATABASE = "FRESHET"
DEFAULT_SCHEMA = "PUBLIC"
DEFAULT_WAREHOUSE = "COMPUTE_WH"
DEFAULTS = (
    ("DATABASE", DEFAULT_DATABASE),
    ("WAREHOUSE", DEFAULT_WAREHOUSE),
    ("ROLE", "PUBLIC"),
    ("ROLE", "SYSADMIN"),
)


class Catalog:
    """What exists, by kind (DATABASE, SCHEMA, WAREHOUSE, ROLE) and name; a schema's name is `DATABASE.SCHEMA`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._objects = {(body["kind"], body["name"]) for body in store.load("object")}
        if not self._objects:
            for kind, name in DEFAULTS:
                self.create(kind, name)

    def exists(self, kind: str, name: str) -> bool:
        """Whether there is one."""
        if kind == "SCHEMA" and name.endswith(".INFORMATION_SCHEMA"):
            kind, name = "DATABASE", name.removesuffix(".INFORMATION_SCHEMA")
        with self._lock:
            return (kind, name) in self._objects

    def require(self, kind: str, name: str) -> None:
        """Raises SqlError 2003 unless there is one."""
        if not self.exists(kind, name):
            raise missing(kind.capitalize(), name)

    def names(self, kind: str) -> list[str]:
        """All names of a kind."""
        with self._lock:
            return sorted(name for found, name in self._objects if found == kind)

    def create(self, kind: str, name: str) -> None:
        """Add one; a database brings its schema PUBLIC. Raises SqlError 2002, or 2003 for a schema's database."""
        with self._lock:
            if kind == "SCHEMA":
                self.require("DATABASE", name.split(".", maxsplit=1)[0])
            if self.exists(kind, name):
                raise taken(name)
            self._add(kind, name)
            if kind == "DATABASE":
                self._add("SCHEMA", f"{name}.{DEFAULT_SCHEMA}")

    def drop(self, kind: str, name: str) -> None:
        """Remove one, a database with its schemas. Raises SqlError 2003."""
        with self._lock:
            self.require(kind, name)
            doomed = {(kind, name)}
            if kind == "DATABASE":
                doomed |= {entry for entry in self._objects if entry[0] == "SCHEMA" and entry[1].startswith(f"{name}.")}
            self._objects -= doomed
            for found, key in doomed:
                self._store.remove("object", f"{found} {key}")

    def _add(self, kind: str, name: str) -> None:
        if (kind, name) not in self._objects:
            self._objects.add((kind, name))
            self._store.save("object", f"{kind} {name}", {"kind": kind, "name": name})
