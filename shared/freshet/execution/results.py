"""The payload after a fan-out: a sequence over what all items came to.

Purpose: `for x in payload`, `len(payload)`, `payload[3]`, `payload[-1]`, `payload[10:20]`, without ever holding a
million values. Guarantee: it behaves like the list of the values in item order; an item that failed under
`on_failure: continue` is None. Never: more than a few pages in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from freshet.domain.errors import FreshetError
from freshet.storage.worker_store import WorkerStore

PAGE = 500  # values per page
KEPT = 8  # pages in memory

#: Values `first` to `first + count - 1` by index; what is missing is None.
FetchPage = Callable[[int, int], dict[int, Any]]


class Results(Sequence[Any]):
    """A read-only sequence, paged from Postgres."""

    def __init__(self, total: int, fetch: FetchPage, *, page: int = PAGE) -> None:
        """`fetch(first, count)` is asked for whole pages."""
        self._total = total
        self._fetch = fetch
        self._page = page
        self._pages: OrderedDict[int, dict[int, Any]] = OrderedDict()

    def __len__(self) -> int:
        return self._total

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self._value(each) for each in range(*index.indices(self._total))]
        position = range(self._total)[index]  # raises IndexError as a list does
        return self._value(position)

    def __iter__(self) -> Iterator[Any]:
        for index in range(self._total):
            yield self._value(index)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Results | list | tuple):
            return len(self) == len(other) and all(mine == yours for mine, yours in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to a list, which has no hash either

    def __repr__(self) -> str:
        return f"<Results of {self._total} items>"

    def _value(self, index: int) -> Any:
        number = index // self._page
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = self._fetch(number * self._page, self._page)
            if len(self._pages) > KEPT:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(number)
        return page.get(index)


def answered(store: WorkerStore, question: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a child that asks for a page: `values` by index, or the `error` that kept us from reading it."""
    try:
        page = store.page(question["kind"], question["source"], question["first"], question["count"])
    except FreshetError as error:
        return {"error": error.message}
    return {"values": list(page.items())}
