"""Past calls at another price: which of them, and what each is to cost."""

from collections.abc import Collection, Iterable

import msgspec

from metering.errors import ConfigurationError
from metering.ledger import Revision, Standing
from metering.pricing import PriceVersion, PublishedPrices

__all__ = ["Repriced", "Repricer"]


class Repriced(msgspec.Struct):
    """What becomes of calls that are priced anew, or would.

    Attributes:
        calls: How many there are.
        changed: How many of them cost something else then.
        kept: How many are left as they are, by why: `agreed`, charged by a price of the
            account's own; `policy`, charged otherwise than by their price; `reversed`,
            taken back for good; `unpriced`, no price was in force; `unowned`, their
            account was never created.
        delta_p: What all of them cost more, in pico-dollars; below 0 for less.
        by_account: The same of each account with a call that changed.
    """

    calls: int = 0
    changed: int = 0
    kept: dict[str, int] = msgspec.field(default_factory=dict)
    delta_p: int = 0
    by_account: dict[str, int] = msgspec.field(default_factory=dict)


class Repricer:
    """Decides what calls of one model are to cost, by published prices alone.

    A call is only priced anew if its price explains its charge: what was charged by
    agreement, or by a rule for usage that is missing or absurd, stays.

    Args:
        model: Its name in the price book.
        prices: All that was ever published.
        price_version: The price to apply; None: that in force at each admission.
        reason: Why, in the operator's words.

    Raises:
        ConfigurationError: No such price of the model was published.
    """

    def __init__(
        self,
        model: str,
        prices: PublishedPrices,
        price_version: str | None,
        reason: str,
    ) -> None:
        self._prices = prices
        self._reason = reason
        self._version: PriceVersion | None = None
        self.seen = Repriced()
        if price_version is not None:
            self._version = prices.by_id(price_version)
            if self._version is None or self._version.model != model:
                raise ConfigurationError(
                    f"No price {price_version!r} of {model!r} was ever published."
                    " Publish it in the plan, start the service once, and name it by"
                    " its id; `metering price list` shows them."
                )

    def revisions(
        self, standings: Iterable[Standing], owners: Collection[str]
    ) -> list[Revision]:
        """Return what is to change, and note it in `seen`.

        Args:
            standings: What the calls cost now.
            owners: Those of their accounts that exist.
        """
        revisions: list[Revision] = []
        for standing in standings:
            self.seen.calls += 1
            verdict: PriceVersion | str = "unowned"
            if standing.event.account_id in owners:
                verdict = self._verdict(standing)
            if isinstance(verdict, str):
                self.seen.kept[verdict] = self.seen.kept.get(verdict, 0) + 1
                continue
            amount_p = verdict.charge_p(standing.event.usage)
            if amount_p == standing.amount_p:
                continue
            account_id, delta_p = (
                standing.event.account_id,
                amount_p - standing.amount_p,
            )
            self.seen.changed += 1
            self.seen.delta_p += delta_p
            of_all = self.seen.by_account
            of_all[account_id] = of_all.get(account_id, 0) + delta_p
            revisions.append(
                Revision(
                    event_id=standing.event.id,
                    reason=self._reason,
                    amount_p=amount_p,
                    price_version=verdict.id,
                )
            )
        return revisions

    def _verdict(self, standing: Standing) -> PriceVersion | str:
        """Return the price of a call, or why its charge stays as it is."""
        event = standing.event
        if standing.reversed:
            return "reversed"
        explained_p = 0
        if standing.price_version:
            charged_by = self._prices.by_id(standing.price_version)
            if charged_by is None:
                return "agreed"
            explained_p = charged_by.charge_p(event.usage)
        if standing.amount_p != explained_p:
            return "policy"
        version = self._version or self._prices.at(event.model, event.admitted_ns)
        return version or "unpriced"
