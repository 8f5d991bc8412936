"""Output, told apart by item and capped."""

from hypothesis import given
from hypothesis import strategies as st

from freshet.execution.attempt_log import AttemptLog, Demultiplexer

MARK = b"\0freshet:0123456789abcdef:"


def text(log: AttemptLog) -> str:
    part = log.take()
    return part.text if part else ""


@given(st.lists(st.binary(max_size=30).filter(lambda chunk: MARK not in chunk), max_size=8), st.data())
def test_however_the_bytes_arrive_each_item_gets_its_own(shares: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(share + MARK + b"%08x\n" % position for position, share in enumerate(shares))
    logs: dict[int, bytearray] = {}

    class Kept:
        def __init__(self, position: int) -> None:
            self.bytes = logs.setdefault(position, bytearray())

        def add(self, chunk: bytes) -> None:
            self.bytes += chunk

    demultiplexer = Demultiplexer(MARK, Kept, position=0)  # type: ignore[arg-type]
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        demultiplexer.feed(stream[:size])
        stream = stream[size:]
    demultiplexer.end()
    assert [bytes(logs.get(position, b"")) for position in range(len(shares))] == shares


@given(st.text(max_size=50), st.data())
def test_a_character_is_never_torn(written: str, data: st.DataObject) -> None:
    log, encoded, read = AttemptLog("", 1, limit=1000), written.encode("utf-8", "replace"), ""
    while encoded:
        size = data.draw(st.integers(1, len(encoded)))
        log.add(encoded[:size])
        read += text(log)
        encoded = encoded[size:]
    assert read == written.encode("utf-8", "replace").decode()


def test_beyond_the_limit_there_is_one_mark_and_nothing_more() -> None:
    log = AttemptLog("3.17", 2, limit=10)
    log.add(b"0123456")
    first = log.take()
    assert first is not None
    assert (first.item, first.attempt, first.number, first.text) == ("3.17", 2, 0, "0123456")
    log.add(b"789abc")
    log.add(b"def")
    second = log.take()
    assert second is not None
    assert second.text == "789\n[Freshet: the log of this attempt is cut here, at 10 bytes]\n"
    assert second.number == 1
    assert log.take() is None


def test_exactly_the_limit_is_not_cut() -> None:
    log = AttemptLog("", 1, limit=4)
    log.add(b"0123")
    assert text(log) == "0123"
