"""A file as data with line numbers.

Purpose: read YAML 1.2 and JSON so that every later refusal can name the line. Guarantees: plain dict, list,
str, int, float, bool and None, as JSON knows them; doubled keys are refused; dates stay text. Never: an
object that a tag asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freshet.definition import json_source, yaml_source
from freshet.definition.errors import DefinitionErrors, errors_of
from freshet.domain.errors import DefinitionError

MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One document of a file: its data, the file's name, and the line of each JSON Pointer."""

    data: Any
    file: str
    lines: Mapping[str, int]
    base: Path | None = None  # the directory that relative paths in it start from

    def line_of(self, pointer: str) -> int:
        """The line (from 1) of what the pointer names, or of the nearest thing around it that exists."""
        while pointer not in self.lines and pointer:
            pointer = pointer.rpartition("/")[0]
        return self.lines.get(pointer, 1)

    def locate(self, error: DefinitionError) -> DefinitionError:
        """The same refusal, with this file and the line of its pointer."""
        located = [self._located(single) for single in errors_of(error)]
        return located[0] if len(located) == 1 else DefinitionErrors(located)

    def _located(self, error: DefinitionError) -> DefinitionError:
        line = error.line or self.line_of(error.pointer)
        return type(error)(error.message, code=error.code, pointer=error.pointer, file=self.file, line=line)


def load_file(path: Path | str) -> list[Document]:
    """The documents of a file: JSON if it ends in `.json`, else YAML 1.2. Raises DefinitionError with file
    and line.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}"
        raise DefinitionError(message, code="unreadable_file", file=str(path)) from error
    return load_text(_decode(raw, str(path)), str(path), base=path.resolve().parent)


def load_text(text: str, name: str, *, base: Path | None = None) -> list[Document]:
    """The documents of a text; `name` stands in the messages, and ends in `.json` for JSON. Raises
    DefinitionError.
    """
    read = json_source.read if name.endswith(".json") else yaml_source.read
    try:
        found = read(text.removeprefix("\ufeff"))
    except DefinitionError as error:
        raise DefinitionError(
            error.message, code=error.code, pointer=error.pointer, file=name, line=error.line
        ) from error
    if not found:
        message = f"{name} is empty; a workflow file has at least `name` and `tasks`"
        raise DefinitionError(message, code="empty_file", file=name, line=1)
    return [Document(data=data, file=name, lines=lines, base=base) for data, lines in found]


def _decode(raw: bytes, name: str) -> str:
    if len(raw) > MAX_BYTES:
        message = f"{name} has {len(raw)} bytes; a definition has at most {MAX_BYTES}"
        raise DefinitionError(message, code="file_too_large", file=name)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DefinitionError(f"{name} is not UTF-8", code="not_utf8", file=name, line=line) from error
