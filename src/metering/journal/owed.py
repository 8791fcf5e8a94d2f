"""What closed calls cost that are not in the ledger yet, by whose budget they count."""

from collections.abc import Iterable

from metering.usage import UsageEvent

__all__ = ["Owed"]


class Owed:
    """Charges on their way to the ledger, as sums; what is paid off leaves no trace.

    Args:
        events: What is owed at first.
    """

    __slots__ = ("_by_account", "_by_key")

    def __init__(self, events: Iterable[UsageEvent] = ()) -> None:
        self._by_account: dict[tuple[str, str], int] = {}
        self._by_key: dict[tuple[str, str], int] = {}
        for event in events:
            self.add(event)

    def add(self, event: UsageEvent) -> None:
        """Owe a charge."""
        charge_p = event.charge_p
        if not charge_p:
            return
        owed, of = self._by_account, (event.account_id, event.period)
        owed[of] = owed.get(of, 0) + charge_p
        if event.key_id:
            owed, of = self._by_key, (event.key_id, event.period)
            owed[of] = owed.get(of, 0) + charge_p

    def take(self, events: Iterable[UsageEvent]) -> None:
        """Owe charges no longer."""
        for event in events:
            if not event.charge_p:
                continue
            _take(self._by_account, (event.account_id, event.period), event.charge_p)
            if event.key_id:
                _take(self._by_key, (event.key_id, event.period), event.charge_p)

    def of_account(self, account_id: str, period: str | None = None) -> int:
        """Return what an account owes of a period, or of all; pico-dollars."""
        if period is not None:
            return self._by_account.get((account_id, period), 0)
        # Few accounts owe anything: what is owed is posted each second.
        owed = list(self._by_account.items())
        return sum(owed_p for (of, _), owed_p in owed if of == account_id)

    def of_key(self, key_id: str, period: str) -> int:
        """Return what calls with a key owe of a period; pico-dollars."""
        return self._by_key.get((key_id, period), 0)


def _take(owed: dict[tuple[str, str], int], of: tuple[str, str], charge_p: int) -> None:
    left_p = owed.pop(of, 0) - charge_p
    if left_p:
        owed[of] = left_p
