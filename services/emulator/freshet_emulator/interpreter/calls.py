"""Functions inside statements: each call is replaced by its value, or by a table that holds what it returns.

What remains is plain SQL for the tables, so filters, order, limits and joins over the platform's functions come free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from freshet_emulator.errors import SqlError, compilation
from freshet_emulator.interpreter import job_functions, job_tables, query_history
from freshet_emulator.interpreter.arguments import Arguments
from freshet_emulator.interpreter.context import Context
from freshet_emulator.results import Result
from freshet_emulator.sql.lexer import Kind, Token, string_token
from freshet_emulator.sql.names import ObjectName
from freshet_emulator.sql.reader import Reader

if TYPE_CHECKING:
    from freshet_emulator.tables.temporary import Materialized

VERSION = "9.99.0"
# Table functions that are the tables' own.
THEIRS = ("FLATTEN", "GENERATOR", "SPLIT_TO_TABLE", "RESULT", "VALUES")

NAMES: dict[str, Callable[[Context], str | None]] = {
    "CURRENT_ACCOUNT": lambda context: context.platform.options.endpoint.account,
    "CURRENT_CLIENT": lambda _: "Freshet emulator",
    "CURRENT_DATABASE": lambda context: context.session.database,
    "CURRENT_REGION": lambda _: "LOCAL",
    "CURRENT_ROLE": lambda context: context.session.role,
    "CURRENT_SCHEMA": lambda context: context.session.schema,
    "CURRENT_SESSION": lambda context: str(context.session.id),
    "CURRENT_USER": lambda context: context.session.user,
    "CURRENT_VERSION": lambda _: VERSION,
    "CURRENT_WAREHOUSE": lambda context: context.session.warehouse,
    "LAST_QUERY_ID": lambda context: context.session.last_query_id,
}


@dataclass(kw_only=True, slots=True)
class Expansion:
    """One statement with its calls being replaced: a replacement stands in `tokens` with the place of the call."""

    context: Context
    tables: Materialized
    reader: Reader
    tokens: list[Token] = field(default_factory=list)

    def run(self) -> None:
        """Replace all calls."""
        while self.reader.token.kind is not Kind.END:
            if not (self.table_function() or self.method() or self.function()):
                self.tokens.append(self.reader.advance())
        self.tokens.append(self.reader.token)

    def put(self, text: str, start: int) -> None:
        """SQL where the tokens from `start` on stood."""
        end = self.reader.tokens[self.reader.at - 1].end
        self.tokens.append(Token(kind=Kind.SYMBOL, text=text, value=text, start=start, end=end))

    def put_value(self, value: str | None, start: int) -> None:
        """A value where a call stood."""
        self.put("NULL" if value is None else string_token(value, 0, 0).text, start)

    def function(self) -> bool:
        """SYSTEM$…(…), CURRENT_…, with or without brackets."""
        token, start = self.reader.token, self.reader.token.start
        if token.kind is not Kind.WORD or (self.tokens and self.tokens[-1].is_symbol(".")):
            return False
        if token.value.startswith("SYSTEM$"):
            self.reader.advance()
            self.put_value(job_functions.system(self.context, token.value, arguments(self.reader)), start)
            return True
        return self.context_function(token.value) or self.identifier()

    def identifier(self) -> bool:
        """IDENTIFIER('name') is the name."""
        if not (self.reader.at_words("IDENTIFIER") and self.reader.peek().is_symbol("(")):
            return False
        start = self.reader.token.start
        name = self.reader.name()
        self.put(".".join('"' + part.replace('"', '""') + '"' for part in name.parts), start)
        return True

    def context_function(self, word: str) -> bool:
        """A function of the session."""
        called = self.reader.peek().is_symbol("(") and self.reader.peek(2).is_symbol(")")
        bare = word.startswith("CURRENT_") and not self.reader.peek().is_symbol("(")
        named = bool(self.tokens) and self.tokens[-1].is_word("AS")
        if word not in NAMES or not (called or bare) or named:
            return False
        start = self.reader.token.start
        self.reader.at += 3 if called else 1
        self.put_value(NAMES[word](self.context), start)
        return True

    def method(self) -> bool:
        """`job!SPCS_…(…)` that gives a value."""
        start = self.reader.token.start
        target = method_target(self.reader)
        if target is None:
            return False
        name = self.reader.part()
        self.put_value(job_functions.method(self.context, target, name, arguments(self.reader)), start)
        return True

    def table_function(self) -> bool:
        """TABLE(…) around a function that gives rows; FLATTEN and GENERATOR are the tables' own."""
        if not (self.reader.at_words("TABLE") and self.reader.peek().is_symbol("(")):
            return False
        if self.reader.peek(2).is_word(*THEIRS):
            return False
        start = self.reader.token.start
        self.reader.at += 2
        target = method_target(self.reader)
        name = self.reader.name() if target is None else ObjectName(parts=(self.reader.part(),))
        found = rows_of(self.context, target, name, arguments(self.reader))
        self.reader.expect_symbol(")")
        self.put(self.tables.put(found), start)
        return True


def rows_of(context: Context, target: ObjectName | None, name: ObjectName, given: Arguments) -> Result:
    """What a table function returns. Raises SqlError 2143 for one that is not there."""
    if target is not None:
        return job_tables.rows_of_method(context, target, name.last, given)
    if name.last == "GET_JOB_HISTORY":
        return job_functions.job_history(context, given)
    if name.last in query_history.FUNCTIONS:
        return query_history.rows(context, name.last, given)
    if name.last == "RESULT_SCAN":
        asked = given.text(0) or ""
        is_last = asked.startswith("LAST_QUERY_ID") or not asked
        return context.world.scan(context.session.last_query_id or "" if is_last else asked)
    raise compilation(f"Unknown table function {name}", code=2143, sqlstate="42601")


def method_target(reader: Reader) -> ObjectName | None:
    """The name before a `!`, taken with it; None (and nothing taken) if this is something else."""
    start = reader.at
    if reader.token.kind not in (Kind.WORD, Kind.QUOTED):
        return None
    try:
        name = reader.name()
    except SqlError:
        reader.at = start
        return None
    if reader.accept_symbol("!"):
        return name
    reader.at = start
    return None


def arguments(reader: Reader) -> Arguments:
    """The arguments of a call, by position and by name; expressions that are no literals are kept as their words."""
    positional: list[str | None] = []
    named: dict[str, str | None] = {}
    reader.expect_symbol("(")
    while not reader.accept_symbol(")"):
        key = None
        if reader.peek().is_symbol("=>"):
            key = reader.part()
            reader.advance()
        value = argument(reader)
        if key is None:
            positional.append(value)
        else:
            named[key] = value
        reader.accept_symbol(",")
    return Arguments(positional=tuple(positional), named=named)


def argument(reader: Reader) -> str | None:
    """One argument's value, up to the comma or bracket that ends it."""
    taken: list[Token] = []
    depth = 0
    while depth or not reader.token.is_symbol(",", ")"):
        if reader.token.kind is Kind.END:
            reader.refuse()
        depth += reader.token.is_symbol("(") - reader.token.is_symbol(")")
        taken.append(reader.advance())
    return literal(taken)


def literal(tokens: Sequence[Token]) -> str | None:
    """The value of an argument's tokens; NULL is None."""
    if not tokens or (len(tokens) == 1 and tokens[0].is_word("NULL")):
        return None
    return " ".join(token.value for token in tokens)
