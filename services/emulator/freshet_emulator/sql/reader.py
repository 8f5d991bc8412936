"""A cursor over tokens: what the grammar's rules are written with."""

from __future__ import annotations

from typing import NoReturn

from freshet_emulator.errors import SqlError, unexpected
from freshet_emulator.sql.lexer import Kind, Token, tokenize
from freshet_emulator.sql.names import ObjectName


class Reader:
    """Reads from left to right: `accept_…` moves only on a match, `expect_…` raises SqlError 1003 without one."""

    def __init__(self, sql: str, tokens: list[Token]) -> None:
        self.sql = sql
        self.tokens = tokens
        self.at = 0

    @property
    def token(self) -> Token:
        """The token under the cursor."""
        return self.tokens[self.at]

    def peek(self, ahead: int = 1) -> Token:
        """A later token; the END token past the end."""
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def advance(self) -> Token:
        """The token under the cursor; moves on, never past the END token."""
        token = self.token
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def refuse(self) -> NoReturn:
        """Raise the syntax error of the token under the cursor."""
        start = self.token.start
        line = self.sql.count("\n", 0, start) + 1
        position = start - self.sql.rfind("\n", 0, start) - 1
        raise unexpected(self.token.text, self.sql, line=line, position=position)

    def at_words(self, *words: str) -> bool:
        """Whether these words stand here, one after the other."""
        return all(self.peek(ahead).is_word(word) for ahead, word in enumerate(words))

    def accept(self, *words: str) -> bool:
        """Take these words if all of them stand here."""
        if not self.at_words(*words):
            return False
        for _ in words:
            self.advance()
        return True

    def expect(self, *words: str) -> None:
        """Take these words."""
        for word in words:
            if not self.accept(word):
                self.refuse()

    def accept_symbol(self, symbol: str) -> bool:
        """Take a symbol if it stands here."""
        if not self.token.is_symbol(symbol):
            return False
        self.advance()
        return True

    def expect_symbol(self, symbol: str) -> None:
        """Take a symbol."""
        if not self.accept_symbol(symbol):
            self.refuse()

    def finish(self) -> None:
        """Raise unless the statement ends here."""
        if self.token.kind is not Kind.END:
            self.refuse()

    def name(self) -> ObjectName:
        """A name of one to three parts, bare, quoted, or in IDENTIFIER('…')."""
        if self.token.is_word("IDENTIFIER") and self.peek().is_symbol("("):
            self.advance()
            self.advance()
            inner = self.string()
            self.expect_symbol(")")
            return parse_name(inner)
        parts = [self.part()]
        while self.accept_symbol("."):
            parts.append(self.part())
        if len(parts) > 3:
            self.refuse()
        return ObjectName(parts=tuple(parts))

    def part(self) -> str:
        """One part of a name."""
        if self.token.kind not in (Kind.WORD, Kind.QUOTED):
            self.refuse()
        return self.advance().value

    def string(self) -> str:
        """A string literal."""
        if self.token.kind is not Kind.STRING:
            self.refuse()
        return self.advance().value

    def integer(self) -> int:
        """A whole number, also one bound or written as text."""
        if self.token.kind not in (Kind.NUMBER, Kind.STRING) or not self.token.value.isdecimal():
            self.refuse()
        return int(self.advance().value)

    def boolean(self) -> bool:
        """TRUE or FALSE, bare or as text."""
        if self.token.value.upper() not in ("TRUE", "FALSE"):
            self.refuse()
        return self.advance().value.upper() == "TRUE"

    def scalar(self) -> str:
        """A literal or a bare word, as text (a setting's value)."""
        negative = self.accept_symbol("-")
        if self.token.kind not in (Kind.STRING, Kind.NUMBER, Kind.WORD, Kind.QUOTED):
            self.refuse()
        return ("-" if negative else "") + self.advance().value

    def names_in_parentheses(self) -> list[ObjectName]:
        """`(a, b, …)`, possibly empty."""
        names: list[ObjectName] = []
        self.expect_symbol("(")
        while not self.accept_symbol(")"):
            names.append(self.name())
            self.accept_symbol(",")
        return names


def parse_name(text: str) -> ObjectName:
    """A name given as text, as in IDENTIFIER('a.b.c') or in the argument of a system function."""
    try:
        reader = Reader(text, tokenize(text))
        name = reader.name()
        reader.finish()
    except SqlError as error:
        raise SqlError(1003, "42000", f"SQL compilation error:\n'{text}' is not the name of an object.") from error
    return name
