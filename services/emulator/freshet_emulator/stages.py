"""Stages: directories of files, one for each stage. A path never leads out of its stage."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from freshet_emulator.errors import SqlError, missing
from freshet_emulator.sql.names import FullName


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedFile:
    """A file of a stage; `path` is relative to the stage."""

    path: str
    size: int
    digest: str
    changed: dt.datetime


class Stages:
    """The files of all stages, under one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._grants: dict[str, Path] = {}

    def directory(self, stage: FullName, path: str = "") -> Path:
        """Where a path of a stage lies; the stage's own directory is made. Raises SqlError for one outside of it."""
        home = self._root / quote(str(stage), safe=".")
        found = (home / path.strip("/")).resolve()
        if not found.is_relative_to(home.resolve()):
            raise SqlError(1003, "42000", f"SQL compilation error:\n'{path}' is not a path in a stage.")
        home.mkdir(parents=True, exist_ok=True)
        return found

    def grant(self, stage: FullName, path: str) -> str:
        """The right to read or write one file over HTTP: what its address ends with."""
        key = f"{secrets.token_urlsafe(24)}/{quote(path)}"
        self._grants[key] = self.directory(stage, path)
        return key

    def granted(self, key: str) -> Path | None:
        """The file that a grant is for."""
        return self._grants.get(quote(key))

    def read(self, stage: FullName, path: str) -> str:
        """A file's text. Raises SqlError 2003 if there is none, or if it is no text."""
        try:
            return self.directory(stage, path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise missing("Remote file", f"@{stage}/{path}") from error

    def files(self, stage: FullName, path: str = "") -> list[StagedFile]:
        """The files whose path begins so, by path."""
        home = self.directory(stage)
        return [described(home, file) for file in self._files(home, path.strip("/"))]

    def remove(self, stage: FullName, path: str = "") -> list[str]:
        """Delete the files whose path begins so; their paths."""
        home = self.directory(stage)
        gone = [file.relative_to(home).as_posix() for file in self._files(home, path.strip("/"))]
        for each in gone:
            (home / each).unlink(missing_ok=True)
        return gone

    def drop(self, stage: FullName) -> None:
        """Delete a stage with its files."""
        shutil.rmtree(self.directory(stage), ignore_errors=True)

    def _files(self, home: Path, prefix: str) -> Iterator[Path]:
        found = (file for file in sorted(home.rglob("*")) if file.is_file())
        return (file for file in found if file.relative_to(home).as_posix().startswith(prefix))


def described(home: Path, file: Path) -> StagedFile:
    """What LIST shows of a file."""
    content = file.read_bytes()
    return StagedFile(
        path=file.relative_to(home).as_posix(),
        size=len(content),
        digest=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        changed=dt.datetime.fromtimestamp(file.stat().st_mtime, dt.UTC),
    )
