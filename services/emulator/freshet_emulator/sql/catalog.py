"""The rules of databases, schemas, warehouses and roles, and of the session."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from freshet_emulator.sql.lexer import Kind
from freshet_emulator.sql.reader import Reader
from freshet_emulator.sql.services import show_filter
from freshet_emulator.sql.statements import (
    AlterSession,
    AlterUser,
    CreateObject,
    DropObject,
    ExecuteImmediate,
    ShowObjects,
    Statement,
    Use,
)

KINDS = ("DATABASE", "SCHEMA", "WAREHOUSE", "ROLE")


def create(reader: Reader, *, kind: str, or_replace: bool = False) -> CreateObject:
    """CREATE [OR REPLACE] kind [IF NOT EXISTS] name; options are read over, they mean nothing here."""
    if_not_exists = reader.accept("IF", "NOT", "EXISTS")
    name = reader.name()
    while reader.token.kind is not Kind.END:
        reader.advance()
    return CreateObject(kind=kind, name=name, if_not_exists=if_not_exists, or_replace=or_replace)


def drop(reader: Reader, *, kind: str) -> DropObject:
    """DROP kind [IF EXISTS] name [CASCADE | RESTRICT]."""
    if_exists = reader.accept("IF", "EXISTS")
    name = reader.name()
    if not reader.accept("CASCADE"):
        reader.accept("RESTRICT")
    return DropObject(kind=kind, name=name, if_exists=if_exists)


def use(reader: Reader, *, kind: str) -> Use:
    """USE kind name."""
    return Use(kind=kind, name=reader.name())


def use_bare(reader: Reader) -> Use:
    """USE name (a database) or USE database.schema."""
    name = reader.name()
    return Use(kind="DATABASE" if len(name.parts) == 1 else "SCHEMA", name=name)


def use_secondary_roles(reader: Reader) -> AlterSession:
    """USE SECONDARY ROLES ALL | NONE: accepted, roles carry no rights here."""
    reader.part()
    return AlterSession(parameters={})


def show(reader: Reader, *, kind: str) -> ShowObjects:
    """SHOW kinds …"""
    return ShowObjects(kind=kind, filter=show_filter(reader))


def set_parameters(reader: Reader) -> AlterSession:
    """ALTER SESSION SET name = value …"""
    found: dict[str, str | None] = {}
    while not found or reader.token.kind is not Kind.END:
        reader.accept_symbol(",")
        key = reader.part()
        reader.expect_symbol("=")
        found[key] = reader.scalar()
    return AlterSession(parameters=found)


def unset_parameters(reader: Reader) -> AlterSession:
    """ALTER SESSION UNSET name, …"""
    found: dict[str, str | None] = {}
    while not found or reader.token.kind is not Kind.END:
        reader.accept_symbol(",")
        found[reader.part()] = None
    return AlterSession(parameters=found)


def alter_user(reader: Reader) -> AlterUser:
    """ALTER USER [IF EXISTS] name SET key = value … | UNSET key …"""
    reader.accept("IF", "EXISTS")
    name = reader.name()
    read = unset_parameters if reader.accept("UNSET") else set_parameters
    if read is set_parameters:
        reader.expect("SET")
    return AlterUser(name=name, options=read(reader).parameters)


def execute_immediate(reader: Reader) -> ExecuteImmediate:
    """EXECUTE IMMEDIATE 'statement'."""
    return ExecuteImmediate(sql=reader.string())


def rules_of(kind: str) -> dict[tuple[str, ...], Callable[[Reader], Statement]]:
    """The rules that every kind of object has."""
    return {
        ("CREATE", kind): partial(create, kind=kind),
        ("CREATE", "OR", "REPLACE", kind): partial(create, kind=kind, or_replace=True),
        ("CREATE", "TRANSIENT", kind): partial(create, kind=kind),
        ("DROP", kind): partial(drop, kind=kind),
        ("SHOW", f"{kind}S"): partial(show, kind=kind),
        ("SHOW", "TERSE", f"{kind}S"): partial(show, kind=kind),
        ("USE", kind): partial(use, kind=kind),
    }


RULES: dict[tuple[str, ...], Callable[[Reader], Statement]] = {
    ("SHOW", "TABLES"): partial(show, kind="TABLE"),
    ("SHOW", "TERSE", "TABLES"): partial(show, kind="TABLE"),
    ("SHOW", "VIEWS"): partial(show, kind="VIEW"),
    ("SHOW", "TERSE", "VIEWS"): partial(show, kind="VIEW"),
    ("USE",): use_bare,
    ("USE", "SECONDARY", "ROLES"): use_secondary_roles,
    ("ALTER", "SESSION", "SET"): set_parameters,
    ("ALTER", "USER"): alter_user,
    ("ALTER", "SESSION", "UNSET"): unset_parameters,
    ("EXECUTE", "IMMEDIATE"): execute_immediate,
}
for _kind in KINDS:
    RULES |= rules_of(_kind)
