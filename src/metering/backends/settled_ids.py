"""The ids of holds that were settled lately."""

__all__ = ["SettledIds"]

_PAGES = 8


class SettledIds:
    """Remembers the latest ids, and forgets the oldest a page at a time.

    A page is a dict that only grows. To add to it, on the way of every call, costs a
    third of what it costs to move one id into an ordered dict and another one out.

    Args:
        ids_max: So many are remembered at most, and seven eighths of it at least.
    """

    def __init__(self, ids_max: int) -> None:
        self._page_max = ids_max // _PAGES
        self._page: dict[str, None] = {}
        self._older: list[dict[str, None]] = []

    def __len__(self) -> int:
        return sum(map(len, (self._page, *self._older)))

    def __contains__(self, hold_id: str) -> bool:
        return hold_id in self._page or any(hold_id in page for page in self._older)

    def add(self, hold_id: str) -> None:
        """Remember an id."""
        page = self._page
        page[hold_id] = None
        if len(page) >= self._page_max:
            self._older = [page, *self._older[: _PAGES - 2]]
            self._page = {}

    def discard(self, hold_id: str) -> None:
        """Forget an id, whether it is there or not."""
        for page in (self._page, *self._older):
            page.pop(hold_id, None)
