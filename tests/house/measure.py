"""Figures about the source: `python -m tests.house.measure` prints the table.

A function's length is its lines of code: from `def` to its end, without decorators, docstring, comments and
blank lines. A module's length is all of its lines.
"""

import ast
import io
import statistics
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("shared", "services")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Length:
    """How long something is, and where it stands."""

    lines: int
    place: str


@cache
def modules() -> dict[Path, str]:
    """The text of every Python file of the product."""
    files = (file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))
    return {file: file.read_text("utf-8") for file in files}


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file())


def place(file: Path, line: int | None = None) -> str:
    """`path:line` from the repository's root."""
    shown = file.relative_to(ROOT).as_posix()
    return shown if line is None else f"{shown}:{line}"


def functions() -> Iterator[Length]:
    """The length of every function and method; a nested one counts for itself and for its outer one."""
    for file, text in modules().items():
        code = lines_of_code(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                lines = set(range(node.lineno, (node.end_lineno or node.lineno) + 1)) - _docstring(node)
                yield Length(lines=len(lines & code), place=f"{place(file, node.lineno)} {node.name}")


def module_lengths() -> list[Length]:
    """The length of every module, all lines counted."""
    return [Length(lines=len(text.splitlines()), place=place(file)) for file, text in modules().items()]


def lines_of_code(text: str) -> set[int]:
    """The numbers of the lines that hold more than a comment or nothing."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            found |= set(range(token.start[0], token.end[0] + 1))
    return found


def percentile(values: list[int], share: float) -> int:
    """The smallest value that at least `share` of all values do not exceed."""
    return sorted(values)[max(0, -(-int(len(values) * share * 1000) // 1000) - 1)]


def _docstring(node: Function) -> set[int]:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return set()


def table() -> str:
    """The figures as a Markdown table, with the longest of each kind below."""
    lengths, sizes = sorted(functions(), reverse=True), sorted(module_lengths(), reverse=True)
    by_function, by_module = [each.lines for each in lengths], [each.lines for each in sizes]
    rows = [
        ("functions", len(lengths), ""),
        ("median length", int(statistics.median(by_function)), "≤ 8"),
        ("90th percentile", percentile(by_function, 0.9), "≤ 25"),
        ("longest function", by_function[0], "≤ 60"),
        ("modules", len(sizes), ""),
        ("lines in all", sum(by_module), ""),
        ("longest module", by_module[0], "< 400"),
    ]
    lines = ["| what | figure | law |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows), ""]
    return "\n".join([*lines, *(f"{each.lines:5} {each.place}" for each in [*lengths[:10], *sizes[:5]])])


if __name__ == "__main__":
    print(table())
