"""The names of result columns: an expression without an alias is called by its own text, in upper case."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from freshet_emulator.sql.lexer import Kind, Token

AFTER_LIST = ("FROM", "WHERE", "GROUP", "HAVING", "ORDER", "QUALIFY", "LIMIT", "UNION", "EXCEPT", "MINUS", "INTERSECT")
BEFORE_LIST = ("DISTINCT", "ALL")
# In front of a name that is an expression's text, so that no column is mistaken for it.
MARK = "\x01"
OPENING, CLOSING = ("(", "[", "{"), (")", "]", "}")


def projections(sql: str, tokens: Sequence[Token]) -> list[str]:
    """The texts of what the outermost SELECT selects; empty where they can't be told."""
    depth, pieces, start, last = 0, [], None, 0
    skip = 0
    for at, token in enumerate(tokens):
        if skip:
            skip -= 1
            continue
        depth += token.is_symbol(*OPENING) - token.is_symbol(*CLOSING)
        if start is None:
            if depth == 0 and token.is_word("SELECT"):
                skip = taken_after(tokens, at)
                start = tokens[min(at + skip + 1, len(tokens) - 1)].start
            continue
        ends = token.kind is Kind.END or (token.is_word(*AFTER_LIST) and not tokens[at - 1].is_word("WITHIN"))
        if depth == 0 and (ends or token.is_symbol(",")):
            pieces.append(sql[start:last].strip())
            start = token.end
            if ends:
                return pieces
        last = token.end
    return pieces


def taken_after(tokens: Sequence[Token], at: int) -> int:
    """How many tokens behind SELECT belong to it: DISTINCT, ALL, TOP n."""
    following = tokens[min(at + 1, len(tokens) - 1)]
    return 2 if following.is_word("TOP") else 1 if following.is_word(*BEFORE_LIST) else 0


def outermost(tree: exp.Expr) -> exp.Select | None:
    """The SELECT whose columns are the result's."""
    while isinstance(tree, exp.SetOperation | exp.Subquery):
        tree = tree.this
    return tree if isinstance(tree, exp.Select) else None


def name_projections(tree: exp.Expr, texts: Sequence[str]) -> None:
    """Give each unnamed expression of the outermost SELECT its text as alias; a column has its name already."""
    select = outermost(tree)
    if select is None:
        return
    known = len(texts) == len(select.expressions)
    named = [
        expression if is_named(expression) else alias(expression, texts[at] if known else expression.sql("snowflake"))
        for at, expression in enumerate(select.expressions)
    ]
    select.set("expressions", named)


def is_named(expression: exp.Expr) -> bool:
    """Whether the result column has a name anyway."""
    return isinstance(expression, exp.Alias | exp.Star | exp.Aliases) or (
        isinstance(expression, exp.Column) and isinstance(expression.this, exp.Identifier | exp.Star)
    )


def alias(expression: exp.Expr, text: str) -> exp.Expr:
    """An expression under the name of its text."""
    return exp.alias_(expression, MARK + text.upper(), quoted=True, copy=False)
