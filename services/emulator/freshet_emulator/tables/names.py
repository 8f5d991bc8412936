"""Names: which table of DuckDB's a name of Snowflake's means.

A schema is one of DuckDB's, called `DATABASE.SCHEMA`, so that one transaction can write everywhere. Words without
quotes are folded to upper case; afterwards every name is quoted. DuckDB itself does not tell names apart by case.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from sqlglot import exp

from freshet_emulator.errors import unknown_statement
from freshet_emulator.sql.names import FullName, ObjectName

INFORMATION = "INFORMATION_SCHEMA"
# Where the tables lie that are made for one statement; nobody's database is called so without quotes.
OURS = ("temp", "main")


def escaped(part: str) -> str:
    """A part of a name, with no dot in it."""
    return part.replace("%", "%25").replace(".", "%2E")


def original(part: str) -> str:
    """The part that was escaped."""
    return part.replace("%2E", ".").replace("%25", "%")


def stored_schema(database: str, schema: str) -> str:
    """The schema's name in DuckDB."""
    return f"{escaped(database)}.{escaped(schema)}"


def split_schema(stored: str) -> tuple[str, str]:
    """Database and schema of a schema's name in DuckDB."""
    database, _, schema = stored.partition(".")
    return original(database), original(schema)


def temporary_name(name: FullName) -> str:
    """The name of a temporary table, which has no schema in DuckDB."""
    return f"{stored_schema(name.database, name.schema)}.{escaped(name.name)}"


def quoted(text: str) -> str:
    """An identifier of DuckDB's."""
    return '"' + text.replace('"', '""') + '"'


def stored_name(name: FullName) -> str:
    """A table's whole name in DuckDB."""
    return f"{quoted(stored_schema(name.database, name.schema))}.{quoted(name.name)}"


def fold(tree: exp.Expr) -> None:
    """Words without quotes to upper case; every name quoted from here on."""
    for node in tree.find_all(exp.Identifier):
        if not node.args.get("quoted"):
            node.set("this", node.this.upper())
            node.args["quoted"] = True


@dataclass(kw_only=True, slots=True)
class Scope:
    """Where names are looked up. `information` makes a table for a view of INFORMATION_SCHEMA."""

    resolve: Callable[[ObjectName], FullName]
    temporary: Collection[FullName] = ()
    information: Callable[[FullName], str]
    found: list[FullName] = field(default_factory=list)

    def bind(self, tree: exp.Expr) -> None:
        """Put DuckDB's names into a folded statement. Raises SqlError for a name that can't be resolved."""
        local = {common.alias for common in tree.find_all(exp.CTE)}
        for table in list(tree.find_all(exp.Table)):
            if isinstance(table.this, exp.Identifier):
                self.table(table, local)
            elif isinstance(table.this, exp.Var | exp.Dot):
                raise unknown_statement(tree.sql("snowflake"), f"it can't read from {table.sql('snowflake')}")
        for column in tree.find_all(exp.Column):
            self.column(column)

    def resolve_target(self, table: exp.Table) -> FullName:
        """The full name of what a definition is about, before it is bound."""
        return self.resolve(ObjectName(parts=tuple(part for part in (table.catalog, table.db, table.name) if part)))

    def table(self, table: exp.Table, local: Collection[str]) -> None:
        """One table's name."""
        if (not table.db and table.name in local) or (table.catalog, table.db) == OURS:
            return
        name = self.resolve_target(table)
        if aliased(table) and not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(name.name, quoted=True)))
        if name.schema == INFORMATION:
            made = exp.to_table(self.information(name), dialect="duckdb")
            place(table, made.name, made.db, made.catalog)
        elif name in self.temporary:
            place(table, temporary_name(name), "main", "temp")
        else:
            place(table, name.name, stored_schema(name.database, name.schema))
            self.found.append(name)

    def column(self, column: exp.Column) -> None:
        """A column keeps its table, which has an alias of that name, and loses schema and database."""
        if column.name == "NEXTVAL" and column.table:
            parts = tuple(part for part in (column.args.get("db"), column.args.get("table")) if part)
            sequence = self.resolve(ObjectName(parts=tuple(part.name for part in parts)))
            value = exp.Anonymous(this="NEXTVAL", expressions=[exp.Literal.string(stored_name(sequence))])
            is_result = isinstance(column.parent, exp.Select)
            column.replace(exp.alias_(value, "NEXTVAL", quoted=True) if is_result else value)
            return
        column.set("db", None)
        column.set("catalog", None)


def aliased(table: exp.Table) -> bool:
    """Whether a table stands where columns can be qualified by its name."""
    parent = table.parent
    return isinstance(parent, exp.From | exp.Join | exp.Update | exp.Delete | exp.Merge)


def place(table: exp.Table, name: str, schema: str = "", catalog: str = "") -> None:
    """Give a table DuckDB's name."""
    table.set("this", exp.to_identifier(name, quoted=True))
    table.set("db", exp.to_identifier(schema, quoted=True) if schema else None)
    table.set("catalog", exp.to_identifier(catalog, quoted=True) if catalog else None)
