"""Secrets: what CREATE SECRET was given, and what a container gets of it. They are kept like everything else."""

from __future__ import annotations

from typing import Any

from freshet_emulator.errors import missing, taken
from freshet_emulator.spcs.specification import ContainerSpecification
from freshet_emulator.sql.names import FullName
from freshet_emulator.sql.reader import parse_name
from freshet_emulator.state import StateStore

# The options of CREATE SECRET, and the keys under which a specification asks for them.
KEYS = {"SECRET_STRING": "secret_string", "USERNAME": "username", "PASSWORD": "password"}


class Secrets:
    """All secrets by full name."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._values: dict[str, dict[str, str]] = {body["name"]: body["values"] for body in store.load("secret")}

    def create(self, name: FullName, options: dict[str, str], *, or_replace: bool) -> None:
        """Add one. Raises SqlError 2002."""
        if str(name) in self._values and not or_replace:
            raise taken(str(name))
        values = {KEYS[key]: value for key, value in options.items() if key in KEYS}
        self._values[str(name)] = values
        self._store.save("secret", str(name), {"name": str(name), "values": values})

    def exists(self, name: FullName) -> bool:
        """Whether there is one."""
        return str(name) in self._values

    def drop(self, name: FullName) -> None:
        """Forget one. Raises SqlError 2003."""
        if self._values.pop(str(name), None) is None:
            raise missing("Secret", str(name))
        self._store.remove("secret", str(name))

    def names(self) -> list[str]:
        """The full names of all."""
        return sorted(self._values)

    def environment(self, container: ContainerSpecification, owner: FullName) -> dict[str, str]:
        """The variables that a container gets; names are looked up where `owner` lives. Raises SqlError 2003."""
        return dict(self._variable(entry, owner) for entry in container.secrets if "envVarName" in entry)

    def _variable(self, entry: dict[str, Any], owner: FullName) -> tuple[str, str]:
        given = entry.get("snowflakeSecret")
        written = given.get("objectName") if isinstance(given, dict) else given
        parts = parse_name(str(written)).parts
        database, schema = (owner.database, *parts[-3:-2])[-1], (owner.schema, *parts[-2:-1])[-1]
        name = FullName(database=database, schema=schema, name=parts[-1])
        values = self._values.get(str(name))
        if values is None:
            raise missing("Secret", str(name))
        key = str(entry.get("secretKeyRef", "secret_string")).lower()
        return str(entry["envVarName"]), values.get(key, "")
