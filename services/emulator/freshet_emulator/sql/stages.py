"""The rules of stages and of the files in them. PUT and GET are read as text: a `file://` is no comment there."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from freshet_emulator.errors import unknown_statement
from freshet_emulator.sql.lexer import Kind
from freshet_emulator.sql.reader import Reader, parse_name
from freshet_emulator.sql.services import show_filter
from freshet_emulator.sql.statements import (
    CreateStage,
    DropStage,
    ListStage,
    RemoveStaged,
    ShowObjects,
    StagePath,
    Statement,
    Transfer,
)

FILE = r"(?:'(?P<quoted>file://[^']*)'|(?P<bare>file://\S+))"
PLACE = r"(?:'@(?P<stage_quoted>[^']+)'|@(?P<stage>\S+))"
PUT = re.compile(rf"\s*PUT\s+{FILE}\s+{PLACE}(?P<options>.*)", re.IGNORECASE | re.DOTALL)
GET = re.compile(rf"\s*GET\s+{PLACE}\s+{FILE}(?P<options>.*)", re.IGNORECASE | re.DOTALL)
OPTION = re.compile(r"(\w+)\s*=\s*('[^']*'|\w+)")
IS_TRANSFER = re.compile(r"\s*(?:PUT\s+'?file://|GET\s+'?@)", re.IGNORECASE)
STAGE = re.compile(r'((?:"(?:[^"]|"")+"|[\w$.~%])+)(?:/(.*))?', re.DOTALL)


def stage_path(text: str, sql: str) -> StagePath:
    """`stage/path` behind an `@`. Raises SqlError 1003."""
    found = STAGE.fullmatch(text)
    if found is None or found[1].startswith(("~", "%")):
        raise unknown_statement(sql, f"'@{text}' is not a named stage")
    return StagePath(stage=parse_name(found[1]), path=found[2] or "")


def transfer(sql: str) -> Transfer | None:
    """PUT or GET; None for any other statement."""
    if not IS_TRANSFER.match(sql):
        return None
    found = PUT.fullmatch(sql.rstrip().rstrip(";")) or GET.fullmatch(sql.rstrip().rstrip(";"))
    if found is None:
        raise unknown_statement(sql, "it names no file and stage")
    options = {key.upper(): value.strip("'").upper() for key, value in OPTION.findall(found["options"])}
    return Transfer(
        upload=sql.lstrip()[:3].upper() == "PUT",
        file=(found["quoted"] or found["bare"]).removeprefix("file://"),
        place=stage_path(found["stage_quoted"] or found["stage"], sql),
        options=options,
    )


def place(reader: Reader) -> StagePath:
    """`@stage/path`, up to the next blank; also `'@stage/path'`."""
    if reader.token.kind is Kind.STRING and reader.token.value.startswith("@"):
        return stage_path(reader.advance().value[1:], reader.sql)
    start = reader.token.end
    reader.expect_symbol("@")
    found = re.match(r'(?:"(?:[^"]|"")*"|[^\s;,])*', reader.sql[start:])
    text = found.group() if found else ""
    while reader.token.kind is not Kind.END and reader.token.start < start + len(text):
        reader.advance()
    return stage_path(text, reader.sql)


def create(reader: Reader, *, or_replace: bool = False) -> CreateStage:
    """CREATE [OR REPLACE] STAGE [IF NOT EXISTS] name; options are read over."""
    if_not_exists = reader.accept("IF", "NOT", "EXISTS")
    name = reader.name()
    while reader.token.kind is not Kind.END:
        reader.advance()
    return CreateStage(name=name, if_not_exists=if_not_exists, or_replace=or_replace)


def drop(reader: Reader) -> DropStage:
    """DROP STAGE [IF EXISTS] name."""
    if_exists = reader.accept("IF", "EXISTS")
    return DropStage(name=reader.name(), if_exists=if_exists)


def list_files(reader: Reader) -> ListStage:
    """LIST @stage[/path] [PATTERN = 'expression']."""
    found, pattern = place(reader), None
    if reader.accept("PATTERN"):
        reader.expect_symbol("=")
        pattern = reader.string()
    return ListStage(place=found, pattern=pattern)


def remove_files(reader: Reader) -> RemoveStaged:
    """REMOVE @stage[/path]."""
    return RemoveStaged(place=place(reader))


def show(reader: Reader) -> ShowObjects:
    """SHOW STAGES."""
    return ShowObjects(kind="STAGE", filter=show_filter(reader))


RULES: dict[tuple[str, ...], Callable[[Reader], Statement]] = {
    ("CREATE", "STAGE"): create,
    ("CREATE", "TEMPORARY", "STAGE"): create,
    ("CREATE", "OR", "REPLACE", "STAGE"): partial(create, or_replace=True),
    ("DROP", "STAGE"): drop,
    ("LIST",): list_files,
    ("LS",): list_files,
    ("REMOVE",): remove_files,
    ("RM",): remove_files,
    ("SHOW", "STAGES"): show,
}
