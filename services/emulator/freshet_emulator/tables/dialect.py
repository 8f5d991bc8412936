"""A light translation of Snowflake's dialect into SQLite's.

A table lives under one quoted name, `"DATABASE.SCHEMA.TABLE"`; unquoted words are folded to upper case. What SQLite
then can't read is an error of the statement: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from freshet_emulator.sql.lexer import Kind, Token
from freshet_emulator.sql.names import FullName, ObjectName
from freshet_emulator.sql.reader import Reader

BEFORE_TABLE = ("FROM", "JOIN", "INTO", "UPDATE", "TABLE", "VIEW")
WITH_ALIAS = ("FROM", "JOIN", "UPDATE")
NOT_A_TABLE = ("SELECT", "VALUES", "LATERAL", "TABLE")
AFTER_TABLE = frozenset(
    (
        "AS",
        "CROSS",
        "EXCEPT",
        "FULL",
        "GROUP",
        "HAVING",
        "INNER",
        "INTERSECT",
        "JOIN",
        "LEFT",
        "LIMIT",
        "MINUS",
        "NATURAL",
        "OFFSET",
        "ON",
        "ORDER",
        "RIGHT",
        "SET",
        "UNION",
        "USING",
        "VALUES",
        "WHERE",
        "WINDOW",
    )
)
WORDS = {"ILIKE": "LIKE", "MINUS": "EXCEPT"}
FUNCTIONS = {"IFF": "IIF", "NVL": "IFNULL", "LISTAGG": "GROUP_CONCAT", "LEN": "LENGTH"}
# SQLite takes its affinity from the name of a type: these must hold text, and keep their name for the way back.
TYPES = {"STRING": "TEXT", "VARIANT": "VARIANT_TEXT", "OBJECT": "VARIANT_TEXT", "ARRAY": "VARIANT_TEXT"}
DROPPED_AFTER_CREATE = ("TRANSIENT", "TEMPORARY", "TEMP", "LOCAL", "GLOBAL", "VOLATILE", "HYBRID")
NOW = "(strftime('%Y-%m-%d %H:%M:%f+00:00', 'now'))"


def stored_name(name: FullName) -> str:
    """The name of a table in SQLite, quoted."""
    return '"' + str(name).replace('"', '""') + '"'


@dataclass(kw_only=True, slots=True)
class Translation:
    """One statement on its way: what has been written, and the names that are no tables."""

    reader: Reader
    resolve: Callable[[ObjectName], FullName]
    local_names: frozenset[str]
    creates: bool
    written: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """Translate to the end; one SQLite statement, or two for CREATE OR REPLACE."""
        first = []
        if self.creates:
            first = self.open_create()
        while self.reader.token.kind is not Kind.END:
            self.step()
        return [*first, " ".join(self.written)]

    def open_create(self) -> list[str]:
        """The beginning of a CREATE, up to what is created; the DROP that OR REPLACE stands for."""
        reader = self.reader
        reader.expect("CREATE")
        replaces = reader.accept("OR", "REPLACE")
        while reader.token.is_word(*DROPPED_AFTER_CREATE):
            reader.advance()
        self.written.append("CREATE")
        if not replaces or not reader.token.is_word("TABLE", "VIEW"):
            return []
        start, kind = reader.at, reader.advance().value
        name = stored_name(self.resolve(reader.name()))
        reader.at = start
        return [f"DROP {kind} IF EXISTS {name}"]

    def step(self) -> None:
        """Translate the token under the cursor, with the table name that it may announce."""
        token = self.reader.advance()
        self.written.append(self.word(token) if token.kind is Kind.WORD else token.text)
        if token.is_word(*BEFORE_TABLE) and not self.compares():
            self.table(aliased=token.is_word(*WITH_ALIAS))

    def compares(self) -> bool:
        """Whether FROM belongs to IS DISTINCT FROM."""
        return self.written[-2:] == ["DISTINCT", "FROM"] and self.written[-3:-2] in (["IS"], ["NOT"])

    def word(self, token: Token) -> str:
        """A word outside table names."""
        called = self.reader.token.is_symbol("(")
        if token.value == "CURRENT_TIMESTAMP" and self.written[-1:] == ["DEFAULT"]:
            if called:
                self.reader.advance()
                self.reader.expect_symbol(")")
            return NOW
        if called and token.value in FUNCTIONS:
            return FUNCTIONS[token.value]
        if self.creates and token.value in TYPES:
            return TYPES[token.value]
        return WORDS.get(token.value, token.value)

    def table(self, *, aliased: bool) -> None:
        """The name of a table, if one stands here, and those that follow it after commas."""
        for words in (("IF", "NOT", "EXISTS"), ("IF", "EXISTS")):
            if self.reader.accept(*words):
                self.written.append(" ".join(words))
        if self.reader.token.kind not in (Kind.WORD, Kind.QUOTED) or self.reader.token.is_word(*NOT_A_TABLE):
            return
        name = self.reader.name()
        if len(name.parts) == 1 and name.last in self.local_names:
            self.written.append('"' + name.last + '"')
        else:
            self.written.append(stored_name(self.resolve(name)))
            if aliased and not self.has_alias():
                self.written.append(f'AS "{name.last}"')
        self.more_tables(aliased=aliased)

    def has_alias(self) -> bool:
        """Whether the table is given another name by the statement itself."""
        token = self.reader.token
        return token.is_word("AS") or token.kind is Kind.QUOTED or self.bare_alias()

    def bare_alias(self) -> bool:
        """Whether the next word is an alias without AS."""
        return self.reader.token.kind is Kind.WORD and self.reader.token.value not in AFTER_TABLE

    def more_tables(self, *, aliased: bool) -> None:
        """`, other` behind a table of a FROM clause."""
        if not aliased:
            return
        if self.reader.accept("AS"):
            self.written.append("AS")
        if self.reader.token.kind is Kind.QUOTED or self.bare_alias():
            self.written.append('"' + self.reader.advance().value + '"')
        if self.reader.accept_symbol(","):
            self.written.append(",")
            self.table(aliased=True)


def common_table_names(tokens: Sequence[Token]) -> frozenset[str]:
    """The names defined by WITH: `name AS (` or `name (columns) AS (` is close enough, as no table is called so."""
    if not any(token.is_word("WITH") for token in tokens):
        return frozenset()
    return frozenset(
        name.value
        for name, word, bracket in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if name.kind in (Kind.WORD, Kind.QUOTED) and word.is_word("AS") and bracket.is_symbol("(")
    )


def translate(sql: str, tokens: Sequence[Token], resolve: Callable[[ObjectName], FullName]) -> list[str]:
    """The SQLite statements for one statement of ours. Raises SqlError for a name that can't be resolved."""
    translation = Translation(
        reader=Reader(sql, list(tokens)),
        resolve=resolve,
        local_names=common_table_names(tokens),
        creates=tokens[0].is_word("CREATE"),
    )
    return translation.run()
