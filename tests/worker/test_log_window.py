"""What is new in a window: none missing while looks overlap, none doubled, and a mark where nobody can know."""

from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from freshet.execution import log_window
from freshet.execution.log_window import CERTAIN, GAP, WINDOW, News, news, overlap, settled

#: Lines that repeat, of characters of one to four bytes, some of them empty.
LINES = st.lists(st.sampled_from(["", "tick", "naïve", "…", "😀", "tock tock", "{}"]), max_size=60)
LOOKS = st.lists(st.integers(0, 120), max_size=12)


def shown(text: bytes, size: int) -> str:
    """A window as the platform shows it: cut at any byte, joined by line ends."""
    return text[-size:].decode("utf-8", "replace").removesuffix("\n")


def watched(text: bytes, size: int, looks: Sequence[int]) -> list[tuple[str, int, News]]:
    """Looks after so many bytes each, and one at the end: what was kept then, how far that goes, what was new."""
    kept, at, found = "", 0, []
    for place in [*accumulate(looks), len(text)]:
        end = min(place, len(text))
        window = shown(text[:end], size)
        window = window if end == len(text) else settled(window)
        if window:
            told = news(kept, window, size=max(1, size - 4))
            found.append((kept, at, told))
            kept, at = kept + told.text, end
    return found


def told_of(looks: Sequence[tuple[str, int, News]]) -> str:
    return "".join(each.text for _, _, each in looks)


@given(st.integers(1, 80), st.integers(130, 3_000), LOOKS)
def test_lines_that_differ_are_there_once_each_while_looks_overlap(count: int, size: int, looks: Sequence[int]) -> None:
    # Every look comes before the window has moved on by more than what makes an overlap certain.
    text = "".join(f"line {number:04} … 😀\n" for number in range(count)).encode()
    near = [min(each, size - 2 * CERTAIN - 8) for each in looks]
    rest = len(text) - sum(near)
    near += [size - 2 * CERTAIN - 8] * max(0, -(-rest // max(1, size - 2 * CERTAIN - 8)))
    if size - 2 * CERTAIN - 8 <= 0:
        return
    seen = watched(text, size, near)
    assert told_of(seen) == text.decode().removesuffix("\n")
    assert not any(each.gap for _, _, each in seen)


@example(count=65, size=207, looks=[69])
@given(st.integers(1, 80), st.integers(8, 300), LOOKS)
def test_no_line_is_there_twice_however_small_the_window_and_what_is_lost_is_marked(
    count: int, size: int, looks: Sequence[int]
) -> None:
    text = "".join(f"<{number:03}>\n" for number in range(count)).encode()
    seen = watched(text, size, looks)
    # With its marks, as it is kept: where something is missing, the halves of two lines could make one that was there.
    told = "".join(f"{GAP if each.gap else ''}{each.text}" for _, _, each in seen)
    for number in range(count):
        assert told.count(f"<{number:03}>") <= 1
    if told != text.decode().removesuffix("\n"):
        assert any(each.gap for _, _, each in seen)


@given(LINES, st.integers(1, 300), LOOKS)
def test_lines_that_repeat_are_all_there_unless_the_overlap_itself_repeats(
    lines: Sequence[str], size: int, looks: Sequence[int]
) -> None:
    text = "".join(f"{line}\n" for line in lines).encode()
    seen = watched(text, size, looks)
    told, whole = told_of(seen), text.decode().removesuffix("\n")
    assert len(told) <= len(whole)
    exact, kept = True, ""
    for _, _, each in seen:
        # What was kept is the beginning of the text until a look had lost something, or could be read in two ways.
        exact = exact and whole.startswith(kept + each.text)
        kept += each.text
    if exact and kept != whole:
        assert any(each.gap for _, _, each in seen) or not seen or _ambiguous(seen[-1][0], whole, size)


def _ambiguous(kept: str, whole: str, size: int) -> bool:
    window = shown(whole.encode(), size)
    real = len(window) - (len(whole) - len(kept))
    return any(kept.endswith(window[:length]) for length in range(max(0, real) + 1, len(window) + 1))


@given(st.text(alphabet="ab\n", max_size=300), st.text(alphabet="ab\n", max_size=300))
def test_the_overlap_is_the_longest_there_is(kept: str, window: str) -> None:
    longest = max(length for length in range(len(window) + 1) if kept.endswith(window[:length]))
    assert overlap(kept, window) == longest


@pytest.mark.parametrize("tries", [0, 1, 200])
def test_a_text_made_to_be_slow_is_read_as_any_other(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    monkeypatch.setattr(log_window, "QUICK_TRIES", tries)
    kept, window = "a" * 5_000 + "b" + "a" * 400, "a" * 400 + "c" * 4_000
    assert overlap(kept, window) == 400
    assert overlap("x" + "ab" * 3_000, "ab" * 3_000 + "c") == 6_000


def test_a_first_window_that_is_full_may_have_lost_its_beginning() -> None:
    assert news("", "x" * WINDOW).gap
    assert not news("", "x" * (WINDOW - 1)).gap


def test_a_chance_overlap_is_cut_off_and_marked() -> None:
    told = news("one\ntwo\n", "\nsix\nseven\n")
    assert told == News(text="six\nseven\n", gap=True)
