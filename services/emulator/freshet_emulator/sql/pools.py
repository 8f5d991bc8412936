"""The rules of compute pools."""

from __future__ import annotations

from collections.abc import Callable

from freshet_emulator.sql.reader import Reader
from freshet_emulator.sql.services import show_filter
from freshet_emulator.sql.statements import AlterPool, CreatePool, DropPool, ShowPools, Statement


def options(reader: Reader) -> dict[str, str]:
    """`NAME = value …`, by upper-case name; a list in parentheses is kept as its names, comma-separated."""
    found: dict[str, str] = {}
    while reader.token.kind != "end":
        reader.accept_symbol(",")
        key = reader.part()
        reader.expect_symbol("=")
        if reader.token.is_symbol("("):
            found[key] = ",".join(str(name) for name in reader.names_in_parentheses())
        else:
            found[key] = reader.scalar()
    return found


def create_pool(reader: Reader) -> CreatePool:
    """CREATE COMPUTE POOL [IF NOT EXISTS] name [FOR APPLICATION a] options."""
    if_not_exists = reader.accept("IF", "NOT", "EXISTS")
    name = reader.name()
    if reader.accept("FOR", "APPLICATION"):
        reader.name()
    return CreatePool(name=name, if_not_exists=if_not_exists, options=options(reader))


def alter_pool(reader: Reader) -> AlterPool:
    """ALTER COMPUTE POOL [IF EXISTS] name SUSPEND | RESUME | STOP ALL | SET …"""
    if_exists = reader.accept("IF", "EXISTS")
    name = reader.name()
    if reader.accept("STOP", "ALL"):
        return AlterPool(name=name, action="STOP ALL", if_exists=if_exists)
    if reader.accept("SET"):
        return AlterPool(name=name, action="SET", if_exists=if_exists, options=options(reader))
    if not reader.token.is_word("SUSPEND", "RESUME"):
        reader.refuse()
    return AlterPool(name=name, action=reader.part(), if_exists=if_exists)


def drop_pool(reader: Reader) -> DropPool:
    """DROP COMPUTE POOL [IF EXISTS] name."""
    if_exists = reader.accept("IF", "EXISTS")
    return DropPool(name=reader.name(), if_exists=if_exists)


def describe_pool(reader: Reader) -> ShowPools:
    """DESC COMPUTE POOL name."""
    return ShowPools(described=reader.name())


def show_pools(reader: Reader) -> ShowPools:
    """SHOW COMPUTE POOLS …"""
    return ShowPools(filter=show_filter(reader))


RULES: dict[tuple[str, ...], Callable[[Reader], Statement]] = {
    ("CREATE", "COMPUTE", "POOL"): create_pool,
    ("ALTER", "COMPUTE", "POOL"): alter_pool,
    ("DROP", "COMPUTE", "POOL"): drop_pool,
    ("DESC", "COMPUTE", "POOL"): describe_pool,
    ("DESCRIBE", "COMPUTE", "POOL"): describe_pool,
    ("SHOW", "COMPUTE", "POOLS"): show_pools,
}
