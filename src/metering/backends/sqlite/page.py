"""The rows that the checks of one transaction need: read at once, written at once.

Rows travel as JSON, so that a transaction is a handful of statements however many
checks it has. After each statement its thread must win back the interpreter from the
event loop, which a busy loop gives up after milliseconds only; all that while other
processes would wait for the lock.
"""

import sqlite3
from dataclasses import dataclass, field

import msgspec

from metering.backends.sqlite import sql
from metering.quota import COUNT_MAX

__all__ = ["Budget", "Hold", "Page", "Wanted"]

LOOKS = 4
"""Old rows looked at for each new one: a dead row goes, one in use stays."""

SETTLED_MAX = 262_144
"""Settled holds remembered: the latest ones."""

ANNOUNCED_MAX = 65_536
"""Account versions kept: those announced last."""

_DAY_US = 24 * 3600 * 1_000_000

LEDGERED_IDLE_US = _DAY_US
"""A ledgered budget untouched for so long is forgotten; it can be seeded again."""

UNLEDGERED_IDLE_US = 400 * _DAY_US
"""Any other budget untouched for so long is forgotten: its period is over."""

_INT64_MAX = 2**63 - 1


class Budget(msgspec.Struct, array_like=True, gc=False):
    """State of one budget.

    Attributes:
        spent: Units used by ended calls.
        held: Units that open holds set aside. The file has room for `COUNT_MAX`; where
            it says so, they are counted again from the holds.
        lease_us: No open hold on it ends before; never late, though it may be early
            where holds were renewed or settled since.
        seeded: The epoch in which it was seeded; None where it was not.
        used_us: When it last changed.
    """

    spent: int = 0
    held: int = 0
    lease_us: int = _INT64_MAX
    seeded: int | None = None
    used_us: int = 0


class Hold(msgspec.Struct, array_like=True, gc=False):
    """An open hold: until when, what of which budgets, and the answer it came with.

    One that was brought back took nothing of rates; 1 if so, else 0.
    """

    until_us: int
    held: tuple[tuple[str, int], ...]
    outcome: str
    brought_back: int = 0


@dataclass(slots=True)
class Wanted:
    """Names of the rows that checks are about."""

    rates: set[str] = field(default_factory=set)
    budgets: set[str] = field(default_factory=set)
    holds: set[str] = field(default_factory=set)
    accounts: set[str] = field(default_factory=set)


_encode = msgspec.json.encode
_dues = msgspec.json.Decoder(dict[str, int])
_budgets = msgspec.json.Decoder(dict[str, Budget])
_holds = msgspec.json.Decoder(dict[str, Hold])
_names = msgspec.json.Decoder(set[str])


@dataclass(slots=True)
class Hands:
    """Up to which key a process has looked for rows that are dead."""

    rates: str = ""
    budgets: str = ""


class Page:
    """Rows as checks see and change them, within a transaction that is begun.

    Args:
        connection: Holds the write lock.
        epoch: What was seeded in another one is not known.
        wanted: Names of the rows needed.
        now_us: Holds whose lease is over by then are ended first.

    Attributes:
        expired: How many holds were ended.
    """

    def __init__(
        self, connection: sqlite3.Connection, epoch: int, wanted: Wanted, now_us: int
    ) -> None:
        self._connection = connection
        self.epoch = epoch
        self._now_us = now_us
        self.expired = 0
        self._rates_new = self._budgets_new = 0
        self._dues_put: set[str] = set()
        self._budgets_put: set[str] = set()
        self._holds_put: set[str] = set()
        self._settled_put: dict[str, bool] = {}
        self._versions_put: set[str] = set()
        first_us = self._read(wanted)
        given_back: dict[str, int] = {}
        if first_us is not None and first_us <= now_us:
            given_back = self._expire()
            wanted.budgets |= given_back.keys()
            self._read(wanted)
        # A hold may be on budgets that its settlement does not name.
        others = {key for hold in self.holds.values() for key, _ in hold.held}
        if others := others - wanted.budgets:
            wanted.budgets |= others
            self._read(wanted)
        for key in given_back.keys() & self.budgets.keys():
            if key not in self._recounted:
                self.budgets[key].held -= given_back[key]
            self._budgets_put.add(key)

    def _read(self, wanted: Wanted) -> int | None:
        values = {
            "rates": _encode(wanted.rates).decode(),
            "budgets": _encode(wanted.budgets).decode(),
            "holds": _encode(wanted.holds).decode(),
            "accounts": _encode(wanted.accounts).decode(),
            "epoch": self.epoch,
        }
        ((first_us, dues, budgets, holds, settled, versions),) = (
            self._connection.execute(sql.READ, values).fetchall()
        )
        self.dues: dict[str, int] = _dues.decode(dues)
        self.budgets: dict[str, Budget] = _budgets.decode(budgets)
        self.holds: dict[str, Hold] = _holds.decode(holds)
        self.settled: set[str] = _names.decode(settled)
        self.versions: dict[str, int] = _dues.decode(versions)
        self._recounted = {k for k, b in self.budgets.items() if b.held == COUNT_MAX}
        for key in self._recounted:
            parts = self._connection.execute(sql.PARTS_OF, (key,))
            self.budgets[key].held = sum(units for (units,) in parts)
        return first_us  # type: ignore[no-any-return]

    def _expire(self) -> dict[str, int]:
        """End the holds whose lease is over; return what they had of budgets."""
        given_back: dict[str, int] = {}
        for key, units in self._connection.execute(sql.PARTS_EXPIRED, (self._now_us,)):
            given_back[key] = given_back.get(key, 0) + units
        over = self._connection.execute(sql.DROP_EXPIRED, (self._now_us,))
        self.expired = over.rowcount
        return given_back

    # What checks change

    def put_due(self, key: str, due_us: int) -> None:
        """Set the instant at which a rate is whole again."""
        self._rates_new += key not in self.dues
        self.dues[key] = due_us
        self._dues_put.add(key)

    def budget(self, key: str, now_us: int) -> Budget:
        """Return a budget that is about to be changed; a new one if there is none."""
        budget = self.budgets.get(key)
        if budget is None:
            self._budgets_new += 1
            budget = self.budgets[key] = Budget()
        budget.used_us = max(budget.used_us, now_us)
        self._budgets_put.add(key)
        return budget

    def knows(self, key: str) -> bool:
        """Whether what a budget has spent is known, not only what is held of it."""
        budget = self.budgets.get(key)
        return budget is not None and (budget.seeded is not None or budget.spent != 0)

    def open(self, hold_id: str, hold: Hold, now_us: int) -> None:
        """Add a hold, and set aside what it has of budgets."""
        for key, units in hold.held:
            budget = self.budget(key, now_us)
            budget.lease_us = (
                min(budget.lease_us, hold.until_us) if budget.held else hold.until_us
            )
            budget.held += units
        self.holds[hold_id] = hold
        self._holds_put.add(hold_id)
        if hold_id in self.settled:
            self.settled.discard(hold_id)
            self._settled_put[hold_id] = False

    def renew(self, hold_id: str, hold: Hold, until_us: int) -> None:
        """Extend a lease, never shorten it."""
        hold.until_us = max(hold.until_us, until_us)
        self._holds_put.add(hold_id)

    def end(self, hold_id: str, hold: Hold, now_us: int) -> None:
        """Remove a hold, and give back what it has of budgets."""
        for key, units in hold.held:
            self.budget(key, now_us).held -= units
        del self.holds[hold_id]
        self._holds_put.add(hold_id)

    def remember(self, hold_id: str) -> None:
        """Note that a hold was settled."""
        self.settled.add(hold_id)
        self._settled_put[hold_id] = True

    def put_version(self, account_id: str, version: int) -> None:
        """Note the newest version of an account."""
        self.versions[account_id] = version
        self._versions_put.add(account_id)

    def lease_end_us(self, key: str, now_us: int) -> int:
        """Return when a hold on a budget ends, unless it is renewed or settled first.

        No hold on it ends earlier.
        """
        budget = self.budgets[key]
        if budget.lease_us <= max(now_us, self._now_us):
            self.write()
            ((lease_us,),) = self._connection.execute(sql.LEASE_OF, (key,)).fetchall()
            budget.lease_us = lease_us
            self._budgets_put.add(key)
        return budget.lease_us

    # Writing

    def write(self) -> None:
        """Write what has changed."""
        if self._dues_put:
            dues = self.dues
            pairs = [(key, _int64(dues[key])) for key in self._dues_put]
            self._execute(sql.PUT_RATES, pairs)
            self._dues_put.clear()
        if self._budgets_put:
            self._write_budgets()
        if self._holds_put:
            self._write_holds()
        if self._settled_put:
            self._write_settled()
        if self._versions_put:
            self._execute(
                sql.PUT_VERSIONS,
                [(name, self.versions[name]) for name in self._versions_put],
            )
            self._connection.execute(sql.BOUND_VERSIONS, (ANNOUNCED_MAX,))
            self._versions_put.clear()

    def drop_dead(self, hands: Hands) -> None:
        """Look at a few old rows for each new one, and delete those that are dead."""
        now_us = self._now_us
        if self._rates_new:
            since, upto, hands.rates = self._look(
                sql.RATES_SEEN, hands.rates, LOOKS * self._rates_new
            )
            self._connection.execute(sql.DROP_RATES, (since, upto, now_us))
        if self._budgets_new:
            since, upto, hands.budgets = self._look(
                sql.BUDGETS_SEEN, hands.budgets, LOOKS * self._budgets_new
            )
            ages_us = LEDGERED_IDLE_US, UNLEDGERED_IDLE_US
            self._connection.execute(
                sql.DROP_IDLE_BUDGETS, (since, upto, now_us, *ages_us)
            )

    def _look(self, statement: str, since: str, looks: int) -> tuple[str, str, str]:
        """Return after which key to look, up to which, and where to go on."""
        ((seen, upto),) = self._connection.execute(statement, (since, looks)).fetchall()
        # At the end of the table it begins again.
        return since, upto or since, upto if seen == looks else ""

    def _write_budgets(self) -> None:
        kept, gone = list[tuple[str, Budget]](), list[str]()
        for key in self._budgets_put:
            budget = self.budgets[key]
            if budget.held or budget.spent or budget.seeded is not None:
                budget.lease_us = _int64(budget.lease_us)
                held = min(budget.held, COUNT_MAX)
                kept.append((key, msgspec.structs.replace(budget, held=held)))
            else:
                gone.append(key)
        if kept:
            self._execute(sql.PUT_BUDGETS, kept)
        if gone:
            self._execute(sql.DROP_BUDGETS, gone)
        self._budgets_put.clear()

    def _write_holds(self) -> None:
        kept, gone = list[tuple[str, tuple[object, ...]]](), list[str]()
        for hold_id in self._holds_put:
            hold = self.holds.get(hold_id)
            if hold is None:
                gone.append(hold_id)
            else:
                held = _encode(hold.held).decode()
                row = _int64(hold.until_us), held, hold.outcome, hold.brought_back
                kept.append((hold_id, row))
        if kept:
            self._execute(sql.PUT_HOLDS, kept)
        if gone:
            self._execute(sql.DROP_HOLDS, gone)
        self._holds_put.clear()

    def _write_settled(self) -> None:
        added = [name for name, is_in in self._settled_put.items() if is_in]
        gone = [name for name, is_in in self._settled_put.items() if not is_in]
        if added:
            self._execute(sql.PUT_SETTLED, added)
            self._connection.execute(sql.BOUND_SETTLED, (SETTLED_MAX,))
        if gone:
            self._execute(sql.DROP_SETTLED, gone)
        self._settled_put.clear()

    def _execute(self, statement: str, rows: object) -> None:
        self._connection.execute(statement, (_encode(rows).decode(),))


def _int64(instant_us: int) -> int:
    return max(-_INT64_MAX, min(_INT64_MAX, instant_us))
