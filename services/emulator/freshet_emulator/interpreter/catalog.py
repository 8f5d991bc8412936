"""What the statements about databases, schemas, warehouses, roles and the session do."""

from __future__ import annotations

from freshet_emulator.errors import SqlError, no_current
from freshet_emulator.interpreter.context import Context
from freshet_emulator.results import Column, Result, status
from freshet_emulator.sql.names import ObjectName
from freshet_emulator.sql.statements import AlterSession, AlterUser, CreateObject, DropObject, ShowObjects, Use


def catalog_name(context: Context, kind: str, name: ObjectName) -> str:
    """The name under which the catalog keeps an object."""
    if kind != "SCHEMA":
        return name.last
    database = name.parts[-2] if len(name.parts) > 1 else context.session.database
    if database is None:
        raise no_current("database")
    return f"{database}.{name.last}"


def create_object(context: Context, statement: CreateObject) -> Result:
    """Create, and use it, as Snowflake does with databases, schemas and warehouses."""
    catalog, kind = context.world.catalog, statement.kind
    name = catalog_name(context, kind, statement.name)
    if catalog.exists(kind, name) and statement.if_not_exists:
        return status(f"{statement.name.last} already exists, statement succeeded.")
    if catalog.exists(kind, name) and statement.or_replace:
        drop_tables(context, kind, name)
        catalog.drop(kind, name)
    catalog.create(kind, name)
    if kind != "ROLE":
        enter(context, kind, name)
    return status(f"{kind.capitalize()} {statement.name.last} successfully created.")


def drop_object(context: Context, statement: DropObject) -> Result:
    """Remove an object."""
    name = catalog_name(context, statement.kind, statement.name)
    try:
        drop_tables(context, statement.kind, name)
        context.world.catalog.drop(statement.kind, name)
    except SqlError:
        if not statement.if_exists:
            raise
        return status(f"Drop statement executed successfully ({statement.name.last} already dropped).")
    return status(f"{statement.name.last} successfully dropped.")


def drop_tables(context: Context, kind: str, name: str) -> None:
    """Forget the tables in a schema or database that is dropped."""
    inside = [name] if kind == "SCHEMA" else []
    if kind == "DATABASE":
        inside = [each for each in context.world.catalog.names("SCHEMA") if each.startswith(f"{name}.")]
    for each in inside:
        context.world.tables.drop_schema(*each.split(".", 1))


def use(context: Context, statement: Use) -> Result:
    """Change what the session uses. Roles carry no rights here, so any name is a role."""
    name = catalog_name(context, statement.kind, statement.name)
    if statement.kind != "ROLE":
        context.world.catalog.require(statement.kind, name)
    enter(context, statement.kind, name)
    return status("Statement executed successfully.")


def enter(context: Context, kind: str, name: str) -> None:
    """Make an object the session's current one; a database brings its schema PUBLIC."""
    session = context.session
    if kind == "DATABASE":
        session.database = name
        session.schema = "PUBLIC" if context.world.catalog.exists("SCHEMA", f"{name}.PUBLIC") else None
    elif kind == "SCHEMA":
        session.database, session.schema = name.split(".", 1)
    elif kind == "WAREHOUSE":
        session.warehouse = name
    else:
        session.role = name


def show_objects(context: Context, statement: ShowObjects) -> Result:
    """The names of a kind of object, with the first columns of the real statement."""
    names = ["created_on", "name", "database_name", "schema_name"]
    columns = [Column(name=name) for name in names]
    if statement.kind in ("TABLE", "VIEW"):
        found = table_names(context, statement.kind)
    elif statement.kind == "SECRET":
        found = [name.split(".", 2) for name in context.platform.secrets.names()]
    elif statement.kind == "STAGE":
        found = [name.split(".", 2) for name in context.world.catalog.names("STAGE")]
    elif statement.kind == "SCHEMA":
        found = [[*name.split(".", 1)] for name in context.world.catalog.names("SCHEMA")]
    else:
        found = [[name] for name in context.world.catalog.names(statement.kind)]
    if statement.kind in ("TABLE", "VIEW", "SCHEMA", "STAGE", "SECRET"):
        found = [parts for parts in found if within(context, statement, parts)]
    wanted = set(statement.filter.apply([parts[-1] for parts in found]))
    rows = [
        (None, parts[-1], parts[0] if len(parts) > 1 else None, parts[1] if len(parts) > 2 else None)
        for parts in found
        if parts[-1] in wanted
    ]
    return Result(columns=columns, rows=rows)


def table_names(context: Context, kind: str) -> list[list[str]]:
    """Database, schema and name of every table or view."""
    from freshet_emulator.tables.listing import listed

    tables = context.world.tables.of_session(context.session.id)
    names = [each.name for each in listed(tables) if each.kind == kind]
    return [[name.database, name.schema, name.name] for name in names]


def within(context: Context, statement: ShowObjects, parts: list[str]) -> bool:
    """Whether an object lies in the scope asked for: the session's own if nothing is said."""
    wanted, session = statement.filter, context.session
    if wanted.scope == "ACCOUNT":
        return True
    asked = wanted.scope_name.parts if wanted.scope_name else ()
    if statement.kind == "SCHEMA" or wanted.scope == "DATABASE":
        return parts[0] == (asked[-1] if asked else session.database)
    schema = asked[-1] if asked else session.schema
    database = asked[-2] if len(asked) > 1 else session.database
    return parts[:2] == [database, schema]


def alter_user(context: Context, statement: AlterUser) -> Result:
    """Give a user a public key, or take it away; other settings mean nothing here."""
    for key, value in statement.options.items():
        if key == "RSA_PUBLIC_KEY" and value is not None:
            context.world.keys.set(statement.name.last, value)
        elif key == "RSA_PUBLIC_KEY":
            context.world.keys.unset(statement.name.last)
    return status("Statement executed successfully.")


def alter_session(context: Context, statement: AlterSession) -> Result:
    """Set or unset session parameters; any name is taken."""
    for key, value in statement.parameters.items():
        if value is None:
            context.session.parameters.pop(key, None)
        else:
            context.session.parameters[key] = value
    return status("Statement executed successfully.")
