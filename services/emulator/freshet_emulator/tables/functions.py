"""Functions and operators that DuckDB calls differently, where sqlglot's own translation is not enough.

Semi-structured values are JSON: whatever makes or takes one apart is rewritten to DuckDB's JSON functions, which read
lists as well once they are wrapped in `TO_JSON`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import sqlglot
from sqlglot import exp

from freshet_emulator.tables.types import BINARY, NESTED, TEXTUAL, stored_type

# Snowflake's date format elements, longest first, as DuckDB's strftime writes them.
FORMATS = (
    ("YYYY", "%Y"),
    ("MMMM", "%B"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("TZHTZM", "%z"),
    ("TZH:TZM", "%z"),
    ("FF3", "%g"),
    ("FF6", "%f"),
    ("FF9", "%n"),
    ("MON", "%b"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("DY", "%a"),
    ("MI", "%M"),
    ("SS", "%S"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("FF", "%n"),
)
FRACTIONS = {"%f_nine": "%n", "%f_six": "%f", "%f_three": "%g", "%f_zero": ""}
# Defined once in every database that is opened.
MACROS = (
    "FS_TEXT(x) AS CASE WHEN TYPEOF(x) = 'JSON' THEN JSON_EXTRACT_STRING(TO_JSON(x), '$') ELSE CAST(x AS VARCHAR) END",
    "FS_DIVIDE(a, b) AS a / CASE WHEN b = 0 THEN ERROR('Division by zero') ELSE b END",
    "FS_TO_CHAR(x, f) AS STRFTIME(TRY_CAST(CAST(x AS VARCHAR) AS TIMESTAMP), f)",
    """FS_TYPEOF(x) AS CASE JSON_TYPE(TO_JSON(x)) WHEN 'UBIGINT' THEN 'INTEGER' WHEN 'BIGINT' THEN 'INTEGER'
       WHEN 'DOUBLE' THEN 'DECIMAL' WHEN 'NULL' THEN 'NULL_VALUE' ELSE JSON_TYPE(TO_JSON(x)) END""",
    "FS_LIST(x) AS CAST(TO_JSON(x) AS JSON[])",
    "FS_ARRAY_CAT(a, b) AS TO_JSON(LIST_CONCAT(FS_LIST(a), FS_LIST(b)))",
    "FS_ARRAY_APPEND(a, x) AS TO_JSON(LIST_APPEND(FS_LIST(a), TO_JSON(x)))",
    "FS_ARRAY_PREPEND(a, x) AS TO_JSON(LIST_PREPEND(TO_JSON(x), FS_LIST(a)))",
    "FS_ARRAY_CONTAINS(a, x) AS LIST_CONTAINS(FS_LIST(a), TO_JSON(x))",
    "FS_ARRAY_POSITION(a, x) AS LIST_POSITION(FS_LIST(a), TO_JSON(x)) - 1",
    "FS_ARRAY_DISTINCT(a) AS TO_JSON(LIST_DISTINCT(FS_LIST(a)))",
    "FS_ARRAY_SLICE(a, f, t) AS TO_JSON(FS_LIST(a)[f + 1:t])",
    "FS_ARRAY_TO_STRING(a, s) AS ARRAY_TO_STRING(LIST_TRANSFORM(FS_LIST(a), LAMBDA e : FS_TEXT(e)), s)",
    "FS_OBJECT_INSERT(o, k, v) AS JSON_MERGE_PATCH(o, JSON_OBJECT(CAST(k AS VARCHAR), v))",
    "TO_OBJECT(x) AS TO_JSON(x)",
    "AS_OBJECT(x) AS TO_JSON(x)",
    "AS_ARRAY(x) AS TO_JSON(x)",
    "AS_VARCHAR(x) AS FS_TEXT(x)",
    "AS_INTEGER(x) AS TRY_CAST(x AS DECIMAL(38, 0))",
    "AS_DOUBLE(x) AS TRY_CAST(x AS DOUBLE)",
    "AS_BOOLEAN(x) AS TRY_CAST(x AS BOOLEAN)",
    "IS_OBJECT(x) AS JSON_TYPE(TO_JSON(x)) = 'OBJECT'",
    "IS_ARRAY(x) AS JSON_TYPE(TO_JSON(x)) = 'ARRAY'",
    "IS_VARCHAR(x) AS JSON_TYPE(TO_JSON(x)) = 'VARCHAR'",
    "OBJECT_DELETE(o, k) AS JSON_MERGE_PATCH(o, JSON_OBJECT(CAST(k AS VARCHAR), NULL))",
)

Rule = Callable[[exp.Expr], exp.Expr]


def call(name: str, *arguments: exp.Expr | str) -> exp.Expr:
    """A call of one of DuckDB's functions; text arguments are string literals."""
    given = [exp.Literal.string(each) if isinstance(each, str) else each for each in arguments]
    return exp.Anonymous(this=name, expressions=given)


def rewrite(tree: exp.Expr) -> exp.Expr:
    """The same statement with DuckDB's functions and types; the inner ones first."""
    for node in reversed(list(tree.dfs())):
        rule = RULES.get(type(node))
        if rule is None:
            continue
        changed = rule(node)
        if changed is not node:
            if node is tree:
                tree = changed
            else:
                node.replace(changed)
    return tree


def object_of(node: exp.Expr) -> exp.Expr:
    """`{'a': 1}` and OBJECT_CONSTRUCT: keys without a value are left out, which a merge patch does."""
    return call("JSON_MERGE_PATCH", "{}", call("JSON_OBJECT", *pairs(node.expressions)))


def pairs(entries: Iterable[exp.Expr]) -> list[exp.Expr]:
    """Keys and values in turn."""
    found: list[exp.Expr] = []
    for entry in entries:
        key = entry.this
        found += [exp.Literal.string(key.name) if isinstance(key, exp.Identifier) else key, entry.expression]
    return found


def object_with_nulls(node: exp.Expr) -> exp.Expr:
    """OBJECT_CONSTRUCT_KEEP_NULL."""
    return call("JSON_OBJECT", *pairs(node.expressions))


def array_of(node: exp.Expr) -> exp.Expr:
    """`[1, 'a']` and ARRAY_CONSTRUCT, whose elements need no common type."""
    return call("JSON_ARRAY", *node.expressions)


def element(node: exp.Expr) -> exp.Expr:
    """`v[0]`, `v['key']`, GET(v, …): counted from 0, null where there is none."""
    key = node.expressions[0] if isinstance(node, exp.Bracket) else node.expression
    if isinstance(key, exp.Literal) and key.is_string:
        key = exp.Literal.string('$."' + key.name.replace('"', '\\"') + '"')
    return call("JSON_EXTRACT", call("TO_JSON", node.this), key)


def cast(node: exp.Expr) -> exp.Expr:
    """A cast: into text without JSON's quotes, into JSON without reading the text as JSON."""
    kind = node.args["to"]
    if kind.this in (*NESTED, exp.DType.JSON):
        return call("TO_JSON", node.this)
    if kind.this in TEXTUAL and not isinstance(node.this, exp.Literal):
        return call("FS_TEXT", node.this)
    if kind.this in BINARY:
        return exp.Unhex(this=node.this)
    return node


def divided(node: exp.Expr) -> exp.Expr:
    """A division, which fails by zero."""
    return call("FS_DIVIDE", node.this, node.expression)


def formatted(node: exp.Expr) -> exp.Expr:
    """TO_CHAR: with a date format if there is one, else as text."""
    pattern = node.args.get("format")
    if not isinstance(pattern, exp.Literal):
        return call("FS_TEXT", node.this)
    return call("FS_TO_CHAR", node.this, date_format(pattern.name))


def date_format(pattern: str) -> str:
    """A date format of Snowflake's as strftime's."""
    text, at = "", 0
    while at < len(pattern):
        word = next((each for each in FORMATS if pattern.upper().startswith(each[0], at)), None)
        text += word[1] if word else pattern[at]
        at += len(word[0]) if word else 1
    return text


def fraction(node: exp.Expr) -> exp.Expr:
    """A time format that sqlglot has translated, apart from the digits of its fraction."""
    pattern = node.args.get("format")
    if isinstance(pattern, exp.Literal):
        text = pattern.name
        for theirs, ours in FRACTIONS.items():
            text = text.replace(theirs, ours)
        node.set("format", exp.Literal.string(text))
    return node


def values(node: exp.Expr) -> exp.Expr:
    """VALUES in a FROM clause, whose columns are COLUMN1, COLUMN2, … unless they are named."""
    if not isinstance(node.parent, exp.From | exp.Join) or not node.expressions:
        return node
    alias = node.args.get("alias") or exp.TableAlias(this=exp.to_identifier("_VALUES", quoted=True))
    if not alias.columns:
        first = node.expressions[0]
        width = len(first.expressions) if isinstance(first, exp.Tuple) else 1
        alias.set("columns", [exp.to_identifier(f"COLUMN{at + 1}", quoted=True) for at in range(width)])
    node.set("alias", alias)
    return node


def positional(node: exp.Expr) -> exp.Expr:
    """`$1`: a column by its position in VALUES."""
    if not (isinstance(node.this, exp.Literal) and node.this.is_int):
        return node
    name = exp.to_identifier(f"COLUMN{node.this.name}", quoted=True)
    return name if isinstance(node.parent, exp.Column) else exp.Column(this=name)


FLATTENED = """
SELECT 1 AS "SEQ",
    CASE WHEN FS_K = 'OBJECT' THEN FS_N END AS "KEY",
    CASE WHEN FS_K = 'OBJECT' THEN FS_N ELSE '[' || FS_N || ']' END AS "PATH",
    CASE WHEN FS_K = 'ARRAY' THEN CAST(FS_N AS BIGINT) END AS "INDEX",
    JSON_EXTRACT(FS_V, CASE WHEN FS_K = 'OBJECT' THEN '$."' || FS_N || '"' ELSE '$[' || FS_N || ']' END) AS "VALUE",
    FS_V AS "THIS"
FROM (
    SELECT FS_V, JSON_TYPE(FS_V) AS FS_K, UNNEST(
        CASE WHEN JSON_TYPE(FS_V) = 'ARRAY'
        THEN LIST_TRANSFORM(RANGE(CAST(JSON_ARRAY_LENGTH(FS_V) AS BIGINT)), LAMBDA I : CAST(I AS VARCHAR))
        ELSE JSON_KEYS(FS_V) END
    ) AS FS_N
    FROM (SELECT TO_JSON(NULL) AS FS_V)
)
"""


def flatten(node: exp.Expr) -> exp.Expr:
    """FLATTEN, in a LATERAL or TABLE(…), as a lateral query over the keys or positions of its input."""
    if not isinstance(node.this, exp.Explode):
        return node
    given = {"input": node.this.this}
    for argument in [node.this.this, *node.this.expressions]:
        if isinstance(argument, exp.Kwarg):
            given[argument.this.name.lower()] = argument.expression
    source = call("TO_JSON", given["input"])
    if "path" in given:
        source = call("JSON_EXTRACT", source, exp.Literal.string("$." + given["path"].name))
    query = sqlglot.parse_one(FLATTENED, read="duckdb", into=exp.Select)
    placeholder = next(each for each in query.find_all(exp.Alias) if each.alias == "FS_V" and not each.find(exp.Column))
    placeholder.set("this", source)
    alias = node.args.get("alias") or exp.TableAlias(this=exp.to_identifier("_FLATTEN"))
    table = exp.Lateral(this=query.subquery(copy=False), alias=exp.TableAlias(this=alias.this))
    join = node.parent
    if isinstance(join, exp.Join) and getattr(given.get("outer"), "this", False) is True:
        join.set("side", "LEFT")
        join.set("on", exp.true())
    return table


def typed(node: exp.Expr) -> exp.Expr:
    """A type by DuckDB's name for it."""
    assert isinstance(node, exp.DataType)
    return stored_type(node) if not isinstance(node.parent, exp.DataType) else node


def macro(name: str, *parts: str) -> Rule:
    """A rule that calls one of the macros with some of a node's arguments."""
    return lambda node: call(name, *(node.args[part] for part in parts if node.args.get(part) is not None))


RULES: dict[type[exp.Expr], Rule] = {
    exp.Array: array_of,
    exp.ArrayAppend: macro("FS_ARRAY_APPEND", "this", "expression"),
    exp.ArrayConcat: lambda node: call("FS_ARRAY_CAT", node.this, *node.expressions),
    exp.ArrayContains: macro("FS_ARRAY_CONTAINS", "this", "expression"),
    exp.ArrayDistinct: macro("FS_ARRAY_DISTINCT", "this"),
    exp.ArrayPosition: macro("FS_ARRAY_POSITION", "this", "expression"),
    exp.ArrayPrepend: macro("FS_ARRAY_PREPEND", "this", "expression"),
    exp.ArraySlice: macro("FS_ARRAY_SLICE", "this", "start", "end"),
    exp.ArrayToString: macro("FS_ARRAY_TO_STRING", "this", "expression"),
    exp.ObjectInsert: macro("FS_OBJECT_INSERT", "this", "key", "value"),
    exp.ArraySize: lambda node: call("JSON_ARRAY_LENGTH", call("TO_JSON", node.this)),
    exp.Bracket: element,
    exp.Cast: cast,
    exp.DataType: typed,
    exp.Div: divided,
    exp.GetExtract: element,
    exp.JSONObject: object_with_nulls,
    exp.JSONObjectAgg: lambda node: call("JSON_GROUP_OBJECT", *node.args["expressions"][0].args.values()),
    exp.Lateral: flatten,
    exp.ObjectAgg: lambda node: call("JSON_GROUP_OBJECT", node.this, node.expression),
    exp.Parameter: positional,
    exp.Struct: object_of,
    exp.TableFromRows: flatten,
    exp.TimeToStr: fraction,
    exp.ToChar: formatted,
    exp.TryCast: cast,
    exp.Typeof: lambda node: call("FS_TYPEOF", node.this),
    exp.Values: values,
}
