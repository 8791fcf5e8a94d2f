"""Corrections of charges in SQL, within a transaction that the caller has begun."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from msgspec.structs import asdict
from sqlalchemy import Connection, bindparam, select, update

from metering.accounts import Account, TierBook
from metering.backends.sql import identity, reading, schema
from metering.backends.sql.credit import add_grant, set_grant
from metering.backends.sql.standings import standings_by_id
from metering.backends.sql.transfers import book
from metering.backends.sql.upsert import insert
from metering.errors import LedgerError
from metering.ledger import (
    OF_CORRECTION,
    Correction,
    CreditGrant,
    Revision,
    Standing,
    Transfer,
    correction_transfers,
    drawn,
    moved_to_credit,
    period_of,
    reduced,
    revise,
    revised,
)
from metering.money import checked
from metering.stores import BudgetFreed, CorrectionReport

__all__ = ["correct"]

_accounts = schema.accounts.c
_events = schema.usage_events.c
_invoices = schema.invoices.c
_keys = schema.key_periods.c
_periods = schema.periods.c

_new_period = insert(schema.periods)
_add_corrected = _new_period.on_conflict_do_update(
    index_elements=[_periods.account_id, _periods.period],
    set_={"corrected_p": _periods.corrected_p + _new_period.excluded.corrected_p},
)
_add_to_key = (
    update(schema.key_periods)
    .where(_keys.key_id == bindparam("of_key"), _keys.period == bindparam("of_period"))
    .values(spent_p=_keys.spent_p + bindparam("more_p"))
)


def correct(
    connection: Connection,
    revisions: Sequence[Revision],
    tiers: TierBook,
    now_ns: int,
) -> CorrectionReport:
    """Make charges what they are to be; see `CorrectionStore.correct`."""
    wanted = {revision.event_id: revision for revision in revisions}
    owners = _owners(connection, wanted)
    for event_id in wanted:
        if event_id not in owners:
            raise LedgerError(
                f"There is no event {event_id!r} to correct. Name a call by the id that"
                " its response and its event have."
            )
    # Always in one order, so that two who correct do not wait for each other.
    accounts = {
        account_id: identity.get(connection, account_id, to_write=True)
        for account_id in sorted(set(owners.values()))
    }
    by_account: defaultdict[str, list[Standing]] = defaultdict(list)
    for standing in standings_by_id(connection, wanted):
        by_account[standing.event.account_id].append(standing)
    made = [
        _Corrected(connection, accounts[account_id], now_ns).apply(
            ((standing, wanted[standing.event.id]) for standing in its), tiers
        )
        for account_id, its in by_account.items()
    ]
    return CorrectionReport(
        tuple(each for report in made for each in report.corrections),
        tuple(each for report in made for each in report.accounts),
        tuple(each for report in made for each in report.freed),
    )


def _owners(connection: Connection, event_ids: Iterable[str]) -> dict[str, str]:
    owners: dict[str, str] = {}
    for ids in reading.sliced(event_ids):
        wanted = select(_events.id, _events.account_id).where(_events.id.in_(ids))
        owners |= {row.id: row.account_id for row in connection.execute(wanted)}
    return owners


class _Corrected:
    """The corrections of one account, whose row is locked, and all they change."""

    def __init__(self, connection: Connection, account: Account, now_ns: int) -> None:
        self._on = connection
        self._account = account
        self._now_ns = now_ns
        self._grants = {g.id: g for g in reading.grants(connection, account.id)}
        self._drawn: dict[str, CreditGrant] = {}
        self._made: list[Correction] = []
        self._transfers: list[Transfer] = []
        self._debt_p = 0
        self._spent_p: Counter[str] = Counter()
        self._corrected_p: Counter[str] = Counter()
        self._of_keys_p: Counter[tuple[str, str]] = Counter()
        wanted = select(_invoices.period).where(_invoices.account_id == account.id)
        self._invoiced = set(connection.execute(wanted).scalars())

    def apply(
        self, revisions: Iterable[tuple[Standing, Revision]], tiers: TierBook
    ) -> CorrectionReport:
        for standing, revision in revisions:
            self._revise(standing, revision)
        if not self._made:
            return CorrectionReport()
        self._write_entries()
        self._write_debt()
        freed = [*self._write_periods(), *self._write_keys(), *self._freed_credit()]
        after = revised(self._account, self._account, tiers, self._now_ns)
        identity.replace(self._on, after, tiers, self._now_ns)
        return CorrectionReport(tuple(self._made), (after,), tuple(freed))

    def _revise(self, standing: Standing, revision: Revision) -> None:
        event = standing.event
        made = revise(
            standing,
            revision,
            self._grants.values(),
            booked_period=self._booked_period(event.period),
            now_ns=self._now_ns,
        )
        for each in made:
            self._transfers += correction_transfers(each, self._grants)
            changed = drawn(self._grants, each.draws)
            self._grants |= changed
            self._drawn |= changed
            if event.funding == "credit":
                self._debt_p += each.rest_p
            if each.booked_period != each.period:
                self._corrected_p[each.booked_period] += each.amount_p
                continue
            self._spent_p[each.period] += each.amount_p
            if event.key_id:
                self._of_keys_p[event.key_id, each.period] += each.amount_p
        self._made += made

    def _booked_period(self, period: str) -> str:
        """Return the period, or the first from now on, that has no invoice yet."""
        account, at_ns = self._account, self._now_ns
        while period in self._invoiced:
            current = period_of(account, at_ns)
            period, at_ns = current.key, current.end_ns
        return period

    def _write_entries(self) -> None:
        rows = [asdict(each) for each in self._made]
        draws = [
            {
                "correction_id": row["id"],
                "position": position,
                "grant_id": draw.grant_id,
                "amount_p": draw.amount_p,
            }
            for row in rows
            for position, draw in enumerate(row.pop("draws"))
        ]
        for row in rows:
            checked(row["amount_p"])
        self._on.execute(insert(schema.corrections), rows)
        if draws:
            self._on.execute(insert(schema.correction_draws), draws)
        for grant in self._drawn.values():
            set_grant(self._on, grant)
        book(self._on, self._transfers)

    def _write_debt(self) -> None:
        if self._debt_p:
            owner = update(schema.accounts).where(_accounts.id == self._account.id)
            self._on.execute(owner.values(debt_p=_accounts.debt_p + self._debt_p))

    def _write_periods(self) -> list[BudgetFreed]:
        freed: list[BudgetFreed] = []
        for key, more_p in self._spent_p.items():
            if more_p:
                freed.append(self._write_spent(key, more_p))
        rows = [
            {
                "account_id": self._account.id,
                "period": key,
                "spent_p": 0,
                "early_paid_p": 0,
                "epoch": 0,
                "corrected_p": amount_p,
            }
            for key, amount_p in self._corrected_p.items()
        ]
        if rows:
            self._on.execute(_add_corrected, rows)
        return freed

    def _write_spent(self, key: str, more_p: int) -> BudgetFreed:
        account_id = self._account.id
        before = reading.period(self._on, account_id, key)
        after, excess_p = reduced(before, -more_p)
        changed = update(schema.periods).where(
            _periods.account_id == account_id, _periods.period == key
        )
        values = {"spent_p": checked(after.spent_p), "early_paid_p": after.early_paid_p}
        self._on.execute(changed.values(values))
        if excess_p:
            last = next(each for each in reversed(self._made) if each.period == key)
            grant = CreditGrant(
                id=OF_CORRECTION + last.id,
                account_id=account_id,
                kind="paid",
                amount_p=excess_p,
                effective_ns=self._now_ns,
            )
            add_grant(self._on, grant)
            book(self._on, [moved_to_credit(grant)])
        return BudgetFreed(
            account_id=account_id,
            kind="spend",
            period=key,
            amount_p=-more_p - excess_p,
        )

    def _write_keys(self) -> list[BudgetFreed]:
        changed = [(key, more_p) for key, more_p in self._of_keys_p.items() if more_p]
        rows = [
            {"of_key": key_id, "of_period": period, "more_p": more_p}
            for (key_id, period), more_p in changed
        ]
        if rows:
            self._on.execute(_add_to_key, rows)
        return [
            BudgetFreed(
                account_id=self._account.id,
                kind="key",
                key_id=key_id,
                period=period,
                amount_p=-more_p,
            )
            for (key_id, period), more_p in changed
        ]

    def _freed_credit(self) -> list[BudgetFreed]:
        used_p = self._debt_p + sum(d.amount_p for m in self._made for d in m.draws)
        if not used_p:
            return []
        return [
            BudgetFreed(account_id=self._account.id, kind="credit", amount_p=-used_p)
        ]
