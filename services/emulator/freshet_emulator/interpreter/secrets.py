"""What the statements about secrets do."""

from __future__ import annotations

from freshet_emulator.interpreter.context import Context
from freshet_emulator.results import Result, status
from freshet_emulator.sql.statements import CreateSecret, DropSecret


def create_secret(context: Context, statement: CreateSecret) -> Result:
    """CREATE SECRET. Raises SqlError 2002, or 2003 for its schema."""
    name = context.session.resolve(statement.name)
    context.world.catalog.require("SCHEMA", f"{name.database}.{name.schema}")
    if statement.if_not_exists and context.platform.secrets.exists(name):
        return status(f"{name.name} already exists, statement succeeded.")
    context.platform.secrets.create(name, statement.options, or_replace=statement.or_replace)
    return status(f"Secret {name.name} successfully created.")


def drop_secret(context: Context, statement: DropSecret) -> Result:
    """DROP SECRET. Raises SqlError 2003."""
    name = context.session.resolve(statement.name)
    if statement.if_exists and not context.platform.secrets.exists(name):
        return status(f"Drop statement executed successfully ({name.name} already dropped).")
    context.platform.secrets.drop(name)
    return status(f"{name.name} successfully dropped.")
