"""SQL scripts on the session of user code.

Purpose: several statements in one message, with the payload in place of `:payload`. Guarantee: a `:payload` in a
string, a quoted name, a dollar quote or a comment stays as it is. Never: the end of the transaction; a script that
holds one was refused at apply, and `freshet.storage.session` notices it here.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from freshet.storage.database import KEEPALIVE, translated

_LEXEME = re.compile(
    r"""
      --[^\n]* | /\*.*?\*/
    | [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag)
    | (?<!:):(?P<payload>payload)\b
    """,
    re.VERBOSE | re.DOTALL,
)


def run_script(connection: psycopg.Connection[Any], text: str, payload: bytes) -> list[dict[str, Any]]:
    """Run the statements; the last one's rows, none if it has none. `payload` is JSON."""
    literal = sql.Literal(payload.decode()).as_string(connection) + "::jsonb"

    def put(lexeme: re.Match[str]) -> str:
        return f"({literal})" if lexeme["payload"] else lexeme.group()

    with psycopg.ClientCursor(connection, row_factory=dict_row) as cursor:
        # Without parameters the text goes as one message of several statements.
        cursor.execute(_LEXEME.sub(put, text).encode())
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []


def run_script_at(url: str, text: str, payload: bytes) -> list[dict[str, Any]]:
    """The same in a session of its own on another Postgres, committed when the script has ended.

    Raises UnreachableError, DataError, StatementError.
    """
    with translated(), psycopg.connect(url, application_name="freshet sql", **KEEPALIVE) as connection:
        return run_script(connection, text, payload)
