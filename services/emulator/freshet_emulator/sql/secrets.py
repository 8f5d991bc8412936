"""The rules of secrets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from freshet_emulator.sql.pools import options
from freshet_emulator.sql.reader import Reader
from freshet_emulator.sql.services import show_filter
from freshet_emulator.sql.statements import CreateSecret, DropSecret, ShowObjects, Statement


def create(reader: Reader, *, or_replace: bool = False) -> CreateSecret:
    """CREATE [OR REPLACE] SECRET [IF NOT EXISTS] name TYPE = … options."""
    if_not_exists = reader.accept("IF", "NOT", "EXISTS")
    name = reader.name()
    return CreateSecret(name=name, options=options(reader), if_not_exists=if_not_exists, or_replace=or_replace)


def drop(reader: Reader) -> DropSecret:
    """DROP SECRET [IF EXISTS] name."""
    if_exists = reader.accept("IF", "EXISTS")
    return DropSecret(name=reader.name(), if_exists=if_exists)


def show(reader: Reader) -> ShowObjects:
    """SHOW SECRETS."""
    return ShowObjects(kind="SECRET", filter=show_filter(reader))


RULES: dict[tuple[str, ...], Callable[[Reader], Statement]] = {
    ("CREATE", "SECRET"): create,
    ("CREATE", "OR", "REPLACE", "SECRET"): partial(create, or_replace=True),
    ("DROP", "SECRET"): drop,
    ("SHOW", "SECRETS"): show,
}
