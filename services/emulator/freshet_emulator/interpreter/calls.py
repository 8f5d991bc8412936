"""Functions inside statements: each call is replaced by its value, or by a table that holds what it returns.

What remains is plain SQL for the tables, so filters, order, limits and joins over the platform's functions come free.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from freshet_emulator.errors import SqlError, compilation
from freshet_emulator.interpreter import job_functions
from freshet_emulator.interpreter.context import Context
from freshet_emulator.interpreter.job_functions import Arguments
from freshet_emulator.results import Column, Result
from freshet_emulator.spcs.pools import utc_now
from freshet_emulator.sql.lexer import Kind, Token, string_token
from freshet_emulator.sql.names import ObjectName
from freshet_emulator.sql.reader import Reader
from freshet_emulator.tables.database import StatementTables

VERSION = "9.99.0"

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
CLOCKS: dict[str, tuple[str, Callable[[dt.datetime], object]]] = {
    "CURRENT_DATE": ("DATE", dt.datetime.date),
    "CURRENT_TIME": ("TIME", dt.datetime.time),
    "CURRENT_TIMESTAMP": ("TIMESTAMP_LTZ", lambda now: now),
    "GETDATE": ("TIMESTAMP_LTZ", lambda now: now),
    "LOCALTIMESTAMP": ("TIMESTAMP_LTZ", lambda now: now),
    "SYSDATE": ("TIMESTAMP_NTZ", lambda now: now.replace(tzinfo=None)),
}


@dataclass(kw_only=True, slots=True)
class Expansion:
    """One statement with its calls being replaced. `names` gives result columns the name of the call they came from."""

    context: Context
    tables: StatementTables
    reader: Reader
    tokens: list[Token]
    names: dict[str, str]

    def run(self) -> None:
        """Replace all calls."""
        while self.reader.token.kind is not Kind.END:
            if not (self.table_function() or self.method() or self.function()):
                self.tokens.append(self.reader.advance())
        self.tokens.append(self.reader.token)

    def put_value(self, value: str | None, name: str) -> None:
        """A value where a call stood."""
        token = Token(kind=Kind.WORD, text="NULL", value="NULL", start=0, end=0)
        if value is not None:
            token = string_token(value, 0, 0)
        self.tokens.append(token)
        self.names[token.text] = name

    def put_sql(self, text: str) -> None:
        """SQL that is not to be translated."""
        self.tokens.append(Token(kind=Kind.SYMBOL, text=text, value=text, start=0, end=0))

    def function(self) -> bool:
        """SYSTEM$…(…), CURRENT_…, with or without brackets."""
        token = self.reader.token
        if token.kind is not Kind.WORD or (self.tokens and self.tokens[-1].is_symbol(".")):
            return False
        if token.value.startswith("SYSTEM$"):
            self.reader.advance()
            self.put_value(job_functions.system(self.context, token.value, arguments(self.reader)), token.value)
            return True
        if token.value not in NAMES and token.value not in CLOCKS:
            return False
        return self.context_function(token.value)

    def context_function(self, word: str) -> bool:
        """A function of the session or of the clock. DEFAULT CURRENT_TIMESTAMP stays: it is for later."""
        called = self.reader.peek().is_symbol("(") and self.reader.peek(2).is_symbol(")")
        bare = word.startswith("CURRENT_") and not self.reader.peek().is_symbol("(")
        if not (called or bare) or (self.tokens and self.tokens[-1].is_word("DEFAULT", "AS")):
            return False
        self.reader.at += 3 if called else 1
        if word in NAMES:
            self.put_value(NAMES[word](self.context), f"{word}()" if called else word)
            return True
        kind, read = CLOCKS[word]
        clock = Result(columns=[Column(name="V", type=kind)], rows=[(read(utc_now()),)])
        text = f"(SELECT V FROM {self.tables.materialize(clock)})"  # noqa: S608 - the name is ours
        self.put_sql(text)
        self.names[text] = f"{word}()" if called else word
        return True

    def method(self) -> bool:
        """`job!SPCS_…(…)` that gives a value."""
        target = method_target(self.reader)
        if target is None:
            return False
        name = self.reader.part()
        self.put_value(job_functions.method(self.context, target, name, arguments(self.reader)), name)
        return True

    def table_function(self) -> bool:
        """TABLE(…) around a function that gives rows."""
        if not (self.reader.at_words("TABLE") and self.reader.peek().is_symbol("(")):
            return False
        self.reader.at += 2
        target = method_target(self.reader)
        name = self.reader.name() if target is None else ObjectName(parts=(self.reader.part(),))
        found = self.rows_of(target, name, arguments(self.reader))
        self.reader.expect_symbol(")")
        self.put_sql(self.tables.materialize(found))
        return True

    def rows_of(self, target: ObjectName | None, name: ObjectName, given: Arguments) -> Result:
        """What a table function returns. Raises SqlError 2143 for one that is not there."""
        if target is not None:
            return job_functions.rows_of_method(self.context, target, name.last, given)
        if name.last == "GET_JOB_HISTORY":
            return job_functions.job_history(self.context, given)
        if name.last == "RESULT_SCAN":
            return self.context.world.scan(given.text(0) or "")
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
