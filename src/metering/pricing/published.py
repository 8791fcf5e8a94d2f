"""What was published stays true: charges were made by it, and can be made again."""

from collections import defaultdict
from collections.abc import Iterable

from metering.clock import NS_PER_S, iso_utc
from metering.errors import ConfigurationError
from metering.pricing.book import PriceBook
from metering.pricing.version import PriceVersion, version_at

__all__ = ["PublishedPrices", "refuse_changed_past"]


class PublishedPrices:
    """Every price that a ledger ever published, to price a past call again.

    Args:
        versions: What the ledger's `published()` returns.
    """

    __slots__ = ("_by_id", "_by_model")

    def __init__(self, versions: Iterable[PriceVersion]) -> None:
        self._by_id: dict[str, PriceVersion] = {}
        self._by_model: dict[str, list[PriceVersion]] = defaultdict(list)
        for version in versions:
            self._by_id.setdefault(version.id, version)
            self._by_model[version.model].append(version)
        for its in self._by_model.values():
            its.sort(key=lambda version: version.valid_from_ns)

    def by_id(self, version_id: str) -> PriceVersion | None:
        """Return the price an event names, or None if it never was in the book.

        Prices agreed with one account are not. Of two versions that differ in nothing
        but their dates, either is the price.
        """
        return self._by_id.get(version_id)

    def at(self, model: str, instant_ns: int) -> PriceVersion | None:
        """Return the price of a model at the instant of a call's admission, or None."""
        return version_at(self._by_model.get(model, ()), instant_ns)


def refuse_changed_past(
    published: Iterable[PriceVersion], wanted: PriceBook, now_ns: int
) -> None:
    """Refuse a book under which a past instant would cost something else.

    Args:
        published: The versions that were in force so far.
        wanted: The book about to be published.
        now_ns: The present; prices from here on may change freely.

    Raises:
        ConfigurationError: Names the model, and how to write the change instead.
    """
    for old in published:
        model = wanted.model(old.model)
        if model is None or old.valid_from_ns >= now_ns:
            continue
        last_ns = now_ns if old.valid_to_ns is None else min(old.valid_to_ns, now_ns)
        edges = [old.valid_from_ns, last_ns - 1]
        edges += [v.valid_from_ns for v in model.versions]
        for edge in edges:
            if not old.valid_from_ns <= edge < last_ns:
                continue
            new = model.at(edge)
            if new is None or new.id != old.id:
                when = f"at {iso_utc(edge)}" if edge > 0 else "from the beginning"
                raise ConfigurationError(
                    f"The price of {old.model!r} {when} is already published and may"
                    " not change: charges were made by it. Keep the old price in the"
                    f" plan with until = {_soon(now_ns)} or later, and let the new one"
                    " start there; or remove the ledger, if this is a trial."
                )


def _soon(now_ns: int) -> str:
    """Return the next full hour: an instant that is easily written into a plan."""
    hour_ns = 3600 * NS_PER_S
    return iso_utc((now_ns // hour_ns + 1) * hour_ns)
