"""A ledger in memory, for tests and trials: it forgets all when the process ends."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import nlargest
from itertools import islice
from threading import Lock

from msgspec.structs import asdict, replace

from metering.accounts import Account, ApiKey, TierBook
from metering.backends.ledger_posting import (
    Standing,
    as_owned,
    first_of_each,
    fund,
    posted,
    spent_by_period,
)
from metering.backends.ledger_rules import (
    changed,
    checked_account,
    checked_grant,
    known_credit,
    known_key,
    no_account,
    no_key,
    refuse_other_grant,
    refuse_other_payment,
    settled,
    succeeding_prices,
)
from metering.ledger import (
    CreditGrant,
    CreditState,
    Payment,
    PeriodState,
    credit_ceiling_p,
    period_at,
    revised,
)
from metering.money import checked
from metering.pricing import PriceVersion
from metering.stores import (
    AccountChange,
    ChargedEvent,
    KeyRecord,
    PaymentReport,
    PostReport,
    UsageTotal,
)
from metering.usage import Usage, UsageEvent

__all__ = ["MemoryLedger"]


class MemoryLedger:
    """Keeps everything in dicts under one lock; it grows with each event.

    Each method checks all it is given before it changes anything, so that an error
    leaves nothing half done.

    Args:
        tiers: The tier book that payments are judged by.
    """

    def __init__(self, tiers: TierBook) -> None:
        self._tiers = tiers
        self._lock = Lock()
        self._changes = 0
        self._accounts: dict[str, Account] = {}
        self._debts_p: dict[str, int] = defaultdict(int)
        self._keys: dict[str, ApiKey] = {}
        self._key_ids: dict[str, str] = {}
        self._payments: dict[str, Payment] = {}
        self._grants: dict[str, dict[str, CreditGrant]] = defaultdict(dict)
        self._prices: list[PriceVersion] = []
        self._periods: dict[tuple[str, str], PeriodState] = {}
        self._events: dict[str, ChargedEvent] = {}
        self._event_ids: dict[str, list[str]] = defaultdict(list)

    @property
    def tiers(self) -> TierBook:
        """The tier book that payments are judged by."""
        return self._tiers

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    # Accounts and keys

    def create(self, account: Account, credit: CreditGrant | None) -> Account:
        """Add an account; see `AccountStore.create`."""
        checked_account(account, self._tiers)
        if credit is not None:
            checked_grant(credit, account.id)
        with self._lock:
            if account.id in self._accounts:
                return self._accounts[account.id]
            self._accounts[account.id] = account
            self._changes += 1
            if credit is not None:
                self._grants[account.id][credit.id] = credit
            return account

    def get(self, account_id: str) -> Account:
        """Return an account; see `AccountStore.get`."""
        with self._lock:
            return self._get(account_id)

    def find_key(self, key_hash: str, *, now_ns: int) -> KeyRecord | None:
        """Return a key and its account; see `AccountStore.find_key`."""
        with self._lock:
            key_id = self._key_ids.get(key_hash)
            if key_id is None:
                return None
            key = self._keys[key_id]
            credit = self._credit(key.account_id, now_ns)
            return KeyRecord(key, self._accounts[key.account_id], credit)

    def add_key(self, key: ApiKey) -> None:
        """Add a key; see `AccountStore.add_key`."""
        with self._lock:
            self._get(key.account_id)
            if key.id in self._keys or key.hash in self._key_ids:
                raise known_key(key)
            self._keys[key.id] = key
            self._key_ids[key.hash] = key.id
            self._changes += 1

    def revoke_key(self, key_id: str, *, now_ns: int) -> ApiKey:
        """Revoke a key; see `AccountStore.revoke_key`."""
        with self._lock:
            key = self._keys.get(key_id)
            if key is None:
                raise no_key(key_id)
            if key.revoked_ns is None:
                key = self._keys[key_id] = replace(key, revoked_ns=now_ns)
                self._changes += 1
            return key

    def change(self, account_id: str, change: AccountChange) -> Account:
        """Change an account; see `AccountStore.change`."""
        with self._lock:
            after = changed(self._get(account_id), change, self._tiers)
            self._accounts[account_id] = after
            self._changes += 1
            return after

    def changes(self) -> int:
        """Return the count of changes; see `AccountStore.changes`."""
        with self._lock:
            return self._changes

    # Prices

    def publish(self, versions: Iterable[PriceVersion], *, now_ns: int) -> int:
        """Add prices; see `PriceStore.publish`."""
        with self._lock:
            self._prices, added = succeeding_prices(self._prices, versions, now_ns)
            return added

    def published(self) -> list[PriceVersion]:
        """Return every price; see `PriceStore.published`."""
        with self._lock:
            return list(self._prices)

    # Posting

    def post(self, events: Sequence[UsageEvent]) -> PostReport:
        """Post a batch of events; see `LedgerWriter.post`."""
        firsts = first_of_each(events)
        with self._lock:
            new = {id_: e for id_, e in firsts.items() if id_ not in self._events}
            periods = {
                key: self._period(*key, plus_p=spent_p)
                for key, spent_p in spent_by_period(new.values()).items()
            }
            by_account: dict[str, list[UsageEvent]] = defaultdict(list)
            for event in new.values():
                by_account[event.account_id].append(as_owned(event, self._accounts))
            fundings = {
                account_id: fund(theirs, self._grants[account_id].values())
                for account_id, theirs in by_account.items()
            }
            debts_p = {
                account_id: checked(self._debts_p[account_id] + funding.debt_p)
                for account_id, funding in fundings.items()
            }
            # Nothing was refused, so all of it is kept.
            self._periods |= periods
            self._debts_p |= debts_p
            for account_id, funding in fundings.items():
                self._grants[account_id] |= {g.id: g for g in funding.grants}
                charges = {charge.event_id: charge for charge in funding.charges}
                for event in by_account[account_id]:
                    self._events[event.id] = ChargedEvent(event, charges[event.id])
                self._event_ids[account_id] += charges
            standing = {id_: self._standing(id_) for id_ in firsts}
            return posted(events, new, self._accounts, standing)

    def record_payment(self, payment: Payment) -> PaymentReport:
        """Record a payment; see `LedgerWriter.record_payment`."""
        with self._lock:
            known = self._payments.get(payment.reference)
            if known is not None:
                refuse_other_payment(known, payment)
                return PaymentReport(self._accounts[payment.account_id], new=False)
            account = self._get(payment.account_id)
            period_key = (account.id, period_at(payment.at_ns).key)
            period = self._period(*period_key)
            effect = settled(account, period, payment, self._tiers)
            if effect.grant is not None:
                if effect.grant.id in self._grants[account.id]:
                    raise known_credit(effect.grant)
                self._grants[account.id][effect.grant.id] = effect.grant
            if effect.period != period:
                self._periods[period_key] = effect.period
            self._payments[payment.reference] = payment
            self._accounts[account.id] = effect.account
            self._changes += 1
            freed_p = effect.period.early_paid_p - period.early_paid_p
            return PaymentReport(effect.account, new=True, freed_p=freed_p)

    def grant_credit(self, grant: CreditGrant) -> tuple[Account, bool]:
        """Grant credit; see `LedgerWriter.grant_credit`."""
        checked_grant(grant, grant.account_id)
        with self._lock:
            account = self._get(grant.account_id)
            known = self._grants[account.id].get(grant.id)
            if known is not None:
                refuse_other_grant(known, grant)
                return account, False
            after = revised(account, account, self._tiers)
            self._grants[account.id][grant.id] = grant
            self._accounts[account.id] = after
            self._changes += 1
            return after, True

    # Reading

    def period(self, account_id: str, period: str) -> PeriodState:
        """Return a period; see `LedgerReader.period`."""
        with self._lock:
            return self._period(account_id, period)

    def credit(self, account_id: str, *, now_ns: int) -> CreditState:
        """Return credit; see `LedgerReader.credit`."""
        with self._lock:
            return self._credit(account_id, now_ns)

    def grants(self, account_id: str) -> list[CreditGrant]:
        """Return grants; see `LedgerReader.grants`."""
        with self._lock:
            grants = list(self._grants.get(account_id, {}).values())
        return sorted(grants, key=lambda grant: (grant.effective_ns, grant.id))

    def events(
        self, account_id: str, *, period: str | None = None, limit: int = 100
    ) -> list[ChargedEvent]:
        """Return the latest events; see `LedgerReader.events`."""
        with self._lock:
            theirs = self._of(account_id)
        return nlargest(
            limit,
            (each for each in theirs if period in (None, each.event.period)),
            key=lambda each: (each.event.period, each.event.admitted_ns, each.event.id),
        )

    def totals(self, account_id: str, period: str) -> list[UsageTotal]:
        """Return totals by model; see `LedgerReader.totals`."""
        with self._lock:
            theirs = self._of(account_id)
        totals: dict[str, UsageTotal] = {}
        for event in (each.event for each in theirs if each.event.period == period):
            before = totals.get(
                event.model, UsageTotal(event.model, 0, Usage(requests=0), 0)
            )
            used = asdict(event.usage)
            totals[event.model] = UsageTotal(
                event.model,
                before.calls + 1,
                Usage(**{k: n + used[k] for k, n in asdict(before.usage).items()}),
                before.charge_p + event.charge_p,
            )
        return [totals[model] for model in sorted(totals)]

    def accounts(self, *, after: str = "", limit: int = 100) -> list[Account]:
        """Return accounts by id; see `LedgerReader.accounts`."""
        with self._lock:
            ids = sorted(id_ for id_ in self._accounts if id_ > after)
            return [self._accounts[id_] for id_ in islice(ids, max(limit, 0))]

    # Under the lock

    def _get(self, account_id: str) -> Account:
        account = self._accounts.get(account_id)
        if account is None:
            raise no_account(account_id)
        return account

    def _period(self, account_id: str, period: str, plus_p: int = 0) -> PeriodState:
        state = self._periods.get((account_id, period), PeriodState())
        return PeriodState(
            checked(state.spent_p + plus_p), state.early_paid_p, state.epoch
        )

    def _credit(self, account_id: str, now_ns: int) -> CreditState:
        if account_id not in self._accounts:
            return CreditState()
        grants = self._grants[account_id].values()
        return credit_ceiling_p(grants, self._debts_p[account_id], now_ns)

    def _standing(self, event_id: str) -> Standing:
        event = self._events[event_id].event
        return Standing(event.charge_p, event.ending)

    def _of(self, account_id: str) -> list[ChargedEvent]:
        return [self._events[id_] for id_ in self._event_ids.get(account_id, ())]
