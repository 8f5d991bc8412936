"""The laws of the house, kept by machine: sizes, names, where things live, and what must never be committed."""

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.house import measure
from tests.house.measure import ROOT

FORBIDDEN_NAMES = re.compile(r"(.*_)?(utils?|commons?|helpers?|managers?|base|impl|misc)(_.*)?|.{1,2}|.*_?v\d+")
SQL = re.compile(
    r"\s*(--[^\n]*\n\s*)*(select\s|insert\s+into\s|update\s+\S+\s+set\s|delete\s+from\s|merge\s+into\s"
    r"|create\s+(table|index|function|role)\s|alter\s+table\s|with\s+\w+\s+as\s)",
    re.IGNORECASE,
)
SQL_MAY_STAND_IN = (
    "shared/freshet/snowflake/",  # statements of Snowflake, made from names that only a run knows
    "services/emulator/",  # it is a SQL engine itself
    "shared/freshet/definition/jobconfig.py",  # the text of an imported root task, for Snowflake
    "shared/freshet/storage/migrate.py",  # it makes the table that it reads, before there is anything else
)


def _words(*parts: str) -> str:
    """Joined, so that this file does not hold what it forbids."""
    return "".join(parts)


def test_functions_are_short() -> None:
    lengths = [each.lines for each in measure.functions()]
    assert statistics.median(lengths) <= 8
    assert measure.percentile(lengths, 0.9) <= 25


def test_no_function_is_longer_than_60_lines() -> None:
    assert [each for each in measure.functions() if each.lines > 60] == []


def test_no_module_has_400_lines() -> None:
    assert [each for each in measure.module_lengths() if each.lines >= 400] == []


def test_modules_and_folders_are_named_after_what_they_hold() -> None:
    named = {
        part.removesuffix(".py")
        for file in measure.modules()
        for part in file.relative_to(ROOT).parts[1:]
        if not part.startswith("__")
    }
    # `freshet up` is a command, and its module is named after it.
    assert {name for name in named if FORBIDDEN_NAMES.fullmatch(name)} <= {"up"}


def test_sql_lives_in_sql_files() -> None:
    found = [
        measure.place(file, line)
        for file in measure.modules()
        if not measure.place(file).startswith(SQL_MAY_STAND_IN)
        for line, text in _strings(file)
        if SQL.match(text)
    ]
    assert found == []


def test_every_named_statement_is_used_and_every_used_one_is_named() -> None:
    sources = "\n".join(measure.modules().values())
    files = (ROOT / "shared/freshet/storage/sql").glob("*.sql")
    named = {name for file in files for name in re.findall(r"^-- name: (\w+)", file.read_text("utf-8"), re.M)}
    assert {name for name in named if not re.search(rf"[\"']{name}[\"']", sources)} == set()
    assert set(_arguments_of("statement")) <= named


def test_every_suppression_has_its_reason() -> None:
    marker = re.compile(r"#\s*(noqa|type:\s*ignore|pragma|nosec)(?P<rest>.*)")
    bare = []
    for file, text in measure.modules().items():
        lines = text.splitlines()
        for number, line in enumerate(lines, start=1):
            if (found := marker.search(line)) and not _has_reason(found["rest"], lines[: number - 1]):
                bare.append(f"{measure.place(file, number)} {line.strip()}")
    assert bare == []


def _has_reason(rest: str, before: list[str]) -> bool:
    """Behind the code, or in the comment above, or behind the same suppression in the lines above."""
    codes = re.match(r"[:\s]*(\[[\w, -]*\]|[A-Z]+\d+(,\s*[A-Z]+\d+)*)?", rest)
    code = codes.group().strip(": ") if codes else ""
    above = before[-6:]
    repeated = any(code and code in line and re.search(r"\(\w|#.*#|- \w", line) for line in above)
    commented = bool(above) and above[-1].strip().startswith("#")
    return bool(re.search(r"\w", rest[codes.end() :] if codes else rest)) or repeated or commented


def test_nothing_is_left_for_later() -> None:
    later = re.compile(rf"\b({_words('TO', 'DO')}|{_words('FIX', 'ME')}|{_words('XX', 'X')})\b")
    assert [measure.place(file) for file, text in _texts() if later.search(text)] == []


def test_no_address_of_a_registry_is_committed() -> None:
    address = re.compile(
        "|".join(
            [
                _words("https?://[^\\s\"']*", "/simple", "\\b"),
                _words("files\\.", "pythonhosted"),
                _words("(extra-)?index-url", "\\s*[= ]\\s*[\"']?https?:"),
                _words("https?://[^\\s\"']*", "(artifactory|nexus|devpi|jfrog)"),
            ]
        )
    )
    found = [measure.place(file) for file, text in _texts() if address.search(text)]
    assert found == []


def test_no_place_of_somebodys_machine_is_committed() -> None:
    private = re.compile(
        "|".join([_words("/wo", "rk/(main|shared)"), _words("/tmp/", "brief"), "/home/[a-z]+/", "/Users/[a-z]+/"])
    )
    assert [measure.place(file) for file, text in _texts() if private.search(text)] == []


def test_nothing_is_committed_that_is_made_or_large() -> None:
    made = re.compile(r"(\.pyc|\.so|\.egg-info|\.log|\.sqlite|uv\.lock)$|(^|/)(\.venv|__pycache__|dist)/")
    assert [measure.place(file) for file in measure.tracked() if made.search(measure.place(file))] == []
    assert [measure.place(file) for file in measure.tracked() if file.stat().st_size > 500_000] == []


def test_importing_everything_touches_nothing_outside() -> None:
    """No connection, no process, no thread and no file written, whatever module is imported first."""
    script = """
import importlib, os, pkgutil, sys, threading
forbidden = {"socket.connect", "socket.bind", "subprocess.Popen", "os.fork", "os.mkdir", "os.remove"}
armed = False
def hook(event, arguments):
    if armed and event in forbidden:
        raise RuntimeError(f"{event}{arguments!r} at import")
sys.addaudithook(hook)
names = sys.argv[1:]
armed = True
for name in names:
    importlib.import_module(name)
armed = False
assert threading.active_count() == 1, threading.enumerate()
"""
    names = sorted(_module_name(file) for file in measure.modules() if not file.name.startswith("__main__"))
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:freshet", "-c", script, *names],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", ".env.example"])
def test_a_newcomer_finds(name: str) -> None:
    assert len((ROOT / name).read_text("utf-8")) > 200


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{measure.place(file)} → {target}"
        for file in measure.tracked()
        if file.suffix == ".md"
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", file.read_text("utf-8"))
        if not (file.parent / target).exists()
    ]
    assert broken == []


def test_decision_records_are_numbered_and_complete() -> None:
    records = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [int(record.name[:3]) for record in records] == list(range(len(records)))
    for record in records:
        for heading in ("## Context", "## Decision", "## Consequences"):
            assert heading in record.read_text("utf-8"), f"{record.name} lacks {heading}"


def _module_name(file: Path) -> str:
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    skipped = 1 if parts[0] == "shared" else 2
    return ".".join(parts[skipped:]).removesuffix(".__init__")


def _strings(file: Path) -> Iterator[tuple[int, str]]:
    """Every string of a module but its docstrings; of an f-string, its first piece."""
    tree = ast.parse(measure.modules()[file])
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.lineno, node.value


def _arguments_of(function: str) -> Iterator[str]:
    """The literal first arguments of every call of a function."""
    for text in measure.modules().values():
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(func=ast.Name(id=called), args=[ast.Constant(value=value), *_]) if called == function:
                    yield str(value)


def _texts() -> Iterator[tuple[Path, str]]:
    for file in measure.tracked():
        try:
            yield file, file.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a picture
