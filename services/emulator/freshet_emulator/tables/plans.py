"""One statement of Snowflake's as what DuckDB has to run for it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, TokenError

from freshet_emulator.errors import SqlError, unexpected, unknown_statement
from freshet_emulator.sql.names import FullName
from freshet_emulator.tables.functions import rewrite
from freshet_emulator.tables.names import Scope, fold, place, quoted, stored_schema, temporary_name
from freshet_emulator.tables.types import declaration, snowflake_type

# sqlglot warns of statements that it does not know; they are refused here.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


class Work(StrEnum):
    """What a plan's answer looks like, and what it does to transactions."""

    QUERY = "query"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    MERGE = "merge"
    TRUNCATE = "truncate"
    DEFINITION = "definition"
    DESCRIBE = "describe"
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"


CHANGES = frozenset({Work.INSERT, Work.UPDATE, Work.DELETE, Work.MERGE})
# Those that lock the tables they change; INSERT does not.
LOCKING = frozenset({Work.UPDATE, Work.DELETE, Work.MERGE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Statements for DuckDB, in order; the last one gives the answer.

    `name` is what a definition is about; `report` its sentence, `unless` the sentence when there is nothing to do
    because of IF [NOT] EXISTS; `merged` are the counts that a MERGE answers.
    """

    work: Work
    steps: tuple[str, ...] = ()
    tree: exp.Expr
    name: FullName | None = None
    kind: str = "TABLE"
    report: str = "Statement executed successfully."
    unless: str = ""
    expects: bool | None = None
    temporary: bool = False
    tables: tuple[FullName, ...] = ()
    merged: tuple[str, ...] = ()


def parse(sql: str) -> exp.Expr:
    """One statement's tree. Raises SqlError 1003."""
    try:
        tree = sqlglot.parse_one(sql, read="snowflake", error_level=ErrorLevel.RAISE)
    except ParseError as error:
        raise misspelt(error, sql) from error
    except (TokenError, RecursionError) as error:
        raise unknown_statement(sql, "it can't be read") from error
    if not isinstance(tree, exp.Expr):
        raise unknown_statement(sql)
    return tree


def misspelt(error: ParseError, sql: str) -> SqlError:
    """The syntax error for what sqlglot did not understand."""
    first = error.errors[0] if error.errors else {}
    word = str(first.get("highlight") or "<EOF>")
    line, column = int(first.get("line") or 1), int(first.get("col") or 1)
    return unexpected(word, sql, line=line, position=max(0, column - len(word)))


def planned(tree: exp.Expr, scope: Scope, sql: str) -> Plan:
    """What to run for a statement. Raises SqlError for a kind that is not for tables, and for names in the air."""
    rule = RULES.get(type(tree))
    if rule is None:
        raise unknown_statement(sql)
    for definition in tree.find_all(exp.ColumnDef):
        kind = definition.args.get("kind")
        if isinstance(kind, exp.DataType):
            definition.meta["declared"] = declaration(kind)
    tree = rewrite(tree)
    fold(tree)
    return rule(tree, scope)


def written(tree: exp.Expr) -> str:
    """DuckDB's text."""
    return tree.sql("duckdb", unsupported_level=ErrorLevel.IGNORE)


def query(tree: exp.Expr, scope: Scope) -> Plan:
    """SELECT, VALUES, UNION, …"""
    scope.bind(tree)
    return Plan(work=Work.QUERY, steps=(written(tree),), tree=tree, tables=tuple(scope.found))


def insert(tree: exp.Expr, scope: Scope) -> Plan:
    """INSERT; OVERWRITE empties the table first."""
    scope.bind(tree)
    steps: list[str] = []
    if tree.args.get("overwrite"):
        tree.args["overwrite"] = False
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        steps.append(f"DELETE FROM {written(target)}")  # noqa: S608 - the name is quoted
    return Plan(work=Work.INSERT, steps=(*steps, written(tree)), tree=tree, tables=tuple(scope.found))


def update(tree: exp.Expr, scope: Scope) -> Plan:
    """UPDATE; what is set has no table in front of it in DuckDB."""
    changed = scope.resolve_target(tree.this)
    scope.bind(tree)
    unqualify(tree.expressions)
    return Plan(work=Work.UPDATE, steps=(written(tree),), tree=tree, tables=(changed,))


def unqualify(settings: list[exp.Expr]) -> None:
    """Take the table off the columns that are set."""
    for setting in settings:
        if isinstance(setting, exp.EQ) and isinstance(setting.this, exp.Column):
            setting.this.set("table", None)


def delete(tree: exp.Expr, scope: Scope) -> Plan:
    """DELETE."""
    changed = scope.resolve_target(tree.this)
    scope.bind(tree)
    return Plan(work=Work.DELETE, steps=(written(tree),), tree=tree, tables=(changed,))


def merge(tree: exp.Expr, scope: Scope) -> Plan:
    """MERGE; DuckDB tells what it did to each row."""
    changed = scope.resolve_target(tree.this)
    scope.bind(tree)
    counts: list[str] = []
    for branch in tree.args["whens"].expressions:
        then = branch.args["then"]
        if isinstance(then, exp.Insert):
            counts.append("inserted")
            for column in then.find_all(exp.Column):
                if column.parent is then.this:
                    column.set("table", None)
        else:
            counts.append("updated" if isinstance(then, exp.Update) else "deleted")
            unqualify(then.expressions if isinstance(then, exp.Update) else [])
    merged = tuple(word for word in ("inserted", "updated", "deleted") if word in counts)
    text = f"{written(tree)} RETURNING MERGE_ACTION"
    return Plan(work=Work.MERGE, steps=(text,), tree=tree, tables=(changed,), merged=merged)


def truncate(tree: exp.Expr, scope: Scope) -> Plan:
    """TRUNCATE."""
    scope.bind(tree)
    steps = tuple(f"TRUNCATE {written(table)}" for table in tree.expressions)
    return Plan(work=Work.TRUNCATE, steps=steps, tree=tree, tables=tuple(scope.found), expects=maybe(tree, there=True))


def maybe(tree: exp.Expr, *, there: bool) -> bool | None:
    """What IF [NOT] EXISTS asks for; None if nothing is asked."""
    return there if tree.args.get("exists") else None


def create(tree: exp.Expr, scope: Scope) -> Plan:
    """CREATE TABLE, VIEW or SEQUENCE."""
    kind = str(tree.args.get("kind")).upper()
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if kind not in ("TABLE", "VIEW", "SEQUENCE") or not isinstance(target, exp.Table) or tree.find(exp.Command):
        raise unknown_statement(tree.sql("snowflake"))
    temporary = tree.find(exp.TemporaryProperty) is not None and kind == "TABLE"
    keep_properties(tree, temporary=temporary)
    name = scope.resolve_target(target)
    scope.bind(tree)
    where = temporary_name(name) if temporary else name.name
    place(target, where, "" if temporary else stored_schema(name.database, name.schema))
    before, after = table_parts(tree, target) if kind == "TABLE" else ([], [])
    if not temporary:
        before = [f"CREATE SCHEMA IF NOT EXISTS {quoted(target.db)}", *before]
    return Plan(
        work=Work.DEFINITION,
        steps=(*before, created(tree, kind), *after),
        tree=tree,
        name=name,
        kind=kind,
        temporary=temporary,
        report=f"{kind.capitalize()} {name.name} successfully created.",
        unless=f"{name.name} already exists, statement succeeded.",
        expects=maybe(tree, there=False),
    )


def keep_properties(tree: exp.Expr, *, temporary: bool) -> None:
    """Take off what means nothing here: comments, clustering, retention. LIKE becomes a query of no rows."""
    like = tree.find(exp.LikeProperty)
    if like is not None:
        tree.set("expression", exp.select("*").from_(like.this).limit(0))
    kept: list[exp.Expr] = [exp.TemporaryProperty()] if temporary else []
    kept += list(tree.find_all(exp.SequenceProperties))
    tree.set("properties", exp.Properties(expressions=kept) if kept else None)


def created(tree: exp.Expr, kind: str) -> str:
    """The CREATE itself. A view's columns are named in its head."""
    clone = tree.args.pop("clone", None)
    if clone is not None:
        tree.set("expression", exp.select("*").from_(clone.this))
    if kind == "VIEW" and isinstance(tree.this, exp.Schema):
        for column in tree.this.expressions:
            if isinstance(column, exp.ColumnDef):
                column.replace(column.this)
    return written(tree)


def table_parts(tree: exp.Expr, target: exp.Table) -> tuple[list[str], list[str]]:
    """The sequences that a table's columns count with, and what is noted of its columns."""
    before: list[str] = []
    after: list[str] = []
    if not isinstance(tree.this, exp.Schema):
        return before, after
    keys = {key.name for each in tree.this.find_all(exp.PrimaryKey) for key in each.expressions}
    definitions = [each for each in tree.this.expressions if isinstance(each, exp.ColumnDef)]
    tree.this.set("expressions", definitions)
    for definition in definitions:
        before += column_definition(definition, keys)
        if note := noted(target, definition):
            after.append(note)
    return before, after


def noted(target: exp.Table, definition: exp.ColumnDef) -> str | None:
    """The comment that keeps what a column was declared as, if DuckDB's type does not tell."""
    declared = definition.meta.get("declared")
    if not declared or declared == snowflake_type(written(definition.args["kind"])):
        return None
    value = exp.Literal.string(declared).sql("duckdb")
    table = written(exp.table_(target.this, target.args.get("db")))
    return f"COMMENT ON COLUMN {table}.{written(definition.this)} IS {value}"


KEPT = (exp.NotNullColumnConstraint, exp.DefaultColumnConstraint)


def column_definition(definition: exp.ColumnDef, keys: set[str]) -> list[str]:
    """Reduce a column's constraints to what Snowflake enforces; the sequence it counts with, if it counts."""
    found = [constraint.args["kind"] for constraint in definition.args.get("constraints") or ()]
    kept = [each for each in found if isinstance(each, KEPT)]
    counter = next((each for each in found if isinstance(each, COUNTERS)), None)
    before: list[str] = []
    if counter is not None:
        sequence, step = f"main.{quoted(f'counter_{uuid.uuid4().hex}')}", counter.args.get("increment")
        start = counter.args.get("start")
        steps = f"START WITH {start.name if start else 1} INCREMENT BY {step.name if step else 1}"
        before.append(f"CREATE SEQUENCE {sequence} {steps}")
        following = exp.Anonymous(this="NEXTVAL", expressions=[exp.Literal.string(sequence)])
        kept.append(exp.DefaultColumnConstraint(this=following))
    primary = definition.name in keys or any(isinstance(each, exp.PrimaryKeyColumnConstraint) for each in found)
    if primary and not any(isinstance(each, exp.NotNullColumnConstraint) for each in kept):
        kept.append(exp.NotNullColumnConstraint())
    definition.set("constraints", [exp.ColumnConstraint(kind=each) for each in kept])
    return before


COUNTERS = (exp.AutoIncrementColumnConstraint, exp.GeneratedAsIdentityColumnConstraint)


def drop(tree: exp.Expr, scope: Scope) -> Plan:
    """DROP TABLE, VIEW or SEQUENCE."""
    kind = str(tree.args.get("kind")).upper()
    if kind not in ("TABLE", "VIEW", "SEQUENCE"):
        raise unknown_statement(tree.sql("snowflake"))
    name = scope.resolve_target(tree.args["tables"][0])
    scope.bind(tree)
    tree.set("cascade", None)
    tree.set("restrict", None)
    tree.set("constraints", None)
    return Plan(
        work=Work.DEFINITION,
        steps=(written(tree),),
        tree=tree,
        name=name,
        kind=kind,
        report=f"{name.name} successfully dropped.",
        unless=f"Drop statement executed successfully ({name.name} already dropped).",
        expects=maybe(tree, there=True),
    )


def alter(tree: exp.Expr, scope: Scope) -> Plan:
    """ALTER TABLE or VIEW; settings that mean nothing here are read over."""
    name = scope.resolve_target(tree.this)
    scope.bind(tree)
    head = f"ALTER {tree.args['kind']} {written(tree.this)}"
    steps = tuple(step for action in tree.args["actions"] for step in altered(head, tree.this, action))
    return Plan(work=Work.DEFINITION, steps=steps, tree=tree, name=name, expects=maybe(tree, there=True))


def altered(head: str, target: exp.Table, action: exp.Expr) -> list[str]:
    """One change of an ALTER."""
    match action:
        case exp.ColumnDef():
            column_definition(action, set())
            note = noted(target, action)
            word = "IF NOT EXISTS " if action.args.pop("exists", None) else ""
            return [f"{head} ADD COLUMN {word}{written(action)}", *([note] if note else [])]
        case exp.AlterRename():
            return [f"{head} RENAME TO {quoted(action.this.name)}"]
        case exp.SwapTable():
            return swapped(head, target, action.this)
        case exp.AlterSet() | exp.ClusterProperty() | exp.AddConstraint():
            return []
        case exp.Drop() | exp.RenameColumn() | exp.AlterColumn():
            return [f"{head} {written(action)}"]
    raise unknown_statement(f"ALTER … {action.sql('snowflake')}")


def swapped(head: str, target: exp.Table, other: exp.Table) -> list[str]:
    """SWAP WITH, by way of a third name."""
    between, schema = quoted(f"swap_{uuid.uuid4().hex}"), quoted(target.db)
    return [
        f"{head} RENAME TO {between}",
        f"ALTER TABLE {written(other)} RENAME TO {quoted(target.name)}",
        f"ALTER TABLE {schema}.{between} RENAME TO {quoted(other.name)}",
    ]


def describe(tree: exp.Expr, scope: Scope) -> Plan:
    """DESCRIBE TABLE or VIEW."""
    if not isinstance(tree.this, exp.Table):
        raise unknown_statement(tree.sql("snowflake"))
    return Plan(work=Work.DESCRIBE, tree=tree, name=scope.resolve_target(tree.this))


def transaction(work: Work) -> Callable[[exp.Expr, Scope], Plan]:
    """BEGIN, COMMIT, ROLLBACK."""
    return lambda tree, _: Plan(work=work, tree=tree)


def nothing(tree: exp.Expr, _scope: Scope) -> Plan:
    """COMMENT, GRANT, REVOKE: taken, and without effect."""
    return Plan(work=Work.DEFINITION, tree=tree)


RULES: dict[type[exp.Expr], Callable[[exp.Expr, Scope], Plan]] = {
    exp.Select: query,
    exp.Union: query,
    exp.Except: query,
    exp.Intersect: query,
    exp.Subquery: query,
    exp.Values: query,
    exp.Insert: insert,
    exp.Update: update,
    exp.Delete: delete,
    exp.Merge: merge,
    exp.TruncateTable: truncate,
    exp.Create: create,
    exp.Drop: drop,
    exp.Alter: alter,
    exp.Describe: describe,
    exp.Transaction: transaction(Work.BEGIN),
    exp.Commit: transaction(Work.COMMIT),
    exp.Rollback: transaction(Work.ROLLBACK),
    exp.Comment: nothing,
    exp.Grant: nothing,
    exp.Revoke: nothing,
}
