"""Tokens to a statement: which rule reads what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from freshet_emulator.errors import SqlError, unknown_statement, wrong_count
from freshet_emulator.sql import catalog, pools, secrets, services, session, stages
from freshet_emulator.sql.lexer import Kind, Token, split, tokenize
from freshet_emulator.sql.reader import Reader
from freshet_emulator.sql.statements import Statement, TableStatement

Rule = Callable[[Reader], Statement]

# The longest beginning that fits decides.
BOOKS = (services.RULES, pools.RULES, catalog.RULES, session.RULES, stages.RULES, secrets.RULES)
RULES: dict[tuple[str, ...], Rule] = {
    **services.RULES,
    **pools.RULES,
    **catalog.RULES,
    **session.RULES,
    **stages.RULES,
    **secrets.RULES,
}
BEGINNINGS = sorted(RULES, key=len, reverse=True)


def parse(
    sql: str, bindings: Mapping[str, Any] | None = None, variables: Mapping[str, Token] | None = None
) -> Statement:
    """One statement. Raises SqlError 1003 if there is none, if there are several, or if it is misspelt."""
    if (transfer := stages.transfer(sql)) is not None:
        return transfer
    tokens = tokenize(sql, bindings, variables)
    if tokens[0].kind is Kind.END:
        raise SqlError(900, "42601", "SQL compilation error:\nEmpty SQL statement.")
    if any(token.is_symbol(";") for token in tokens):
        raise wrong_count(len(split(sql)), 1)
    reader = Reader(sql, tokens)
    for beginning in BEGINNINGS:
        if reader.accept(*beginning):
            statement = RULES[beginning](reader)
            reader.finish()
            return statement
    if tokens[0].kind is not Kind.WORD and not tokens[0].is_symbol("("):
        raise unknown_statement(sql)
    return TableStatement(sql=sql, tokens=tuple(tokens))
