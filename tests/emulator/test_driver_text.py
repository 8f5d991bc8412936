"""Laws of the driver's literals and patterns, checked by the emulator's reading of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from freshet.snowflake import JobStatus
from freshet.snowflake.text import identifier, like_prefix, literal
from freshet_emulator.sql.lexer import Kind, tokenize
from freshet_emulator.sql.names import like_pattern

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TRICKY = st.text(alphabet="'\"\\$%_nx0?;-/*\n\r\t a")


@given(TEXT | TRICKY)
def test_a_literal_reads_back_as_what_it_was(value: str) -> None:
    string, end = tokenize(literal(value))
    assert (string.kind, string.value, end.kind) == (Kind.STRING, value, Kind.END)


@given(TEXT.filter(bool) | TRICKY.filter(bool))
def test_an_identifier_is_always_one_name(name: str) -> None:
    word, end = tokenize(identifier(name))
    assert word.value in (name, name.upper())
    assert end.kind is Kind.END


@given(TRICKY, TRICKY)
def test_a_prefix_pattern_matches_what_begins_so_and_nothing_else(prefix: str, text: str) -> None:
    pattern = like_pattern(like_prefix(prefix))
    assert pattern.fullmatch(prefix + text)
    assert bool(pattern.fullmatch(text)) == text.lower().startswith(prefix.lower())


@given(st.text())
def test_an_unknown_status_is_alive(text: str) -> None:
    status = JobStatus.read(text)
    assert status is JobStatus.UNKNOWN or status == text.upper()
    assert not JobStatus.UNKNOWN.is_terminal
