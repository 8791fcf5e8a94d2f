"""Accounts and keys in SQL, within a transaction that the caller has begun."""

from msgspec.structs import asdict
from sqlalchemy import Connection, func, select, update

from metering.accounts import Account, ApiKey, TierBook
from metering.backends.sql import reading, schema
from metering.backends.sql.locks import lock_new_accounts
from metering.backends.sql.rows import account_of, account_row, grant_row, key_of
from metering.backends.sql.rules import (
    changed,
    checked_account,
    checked_grant,
    known_key,
    no_account,
    no_key,
    too_many_keys,
)
from metering.backends.sql.transfers import book
from metering.backends.sql.upsert import insert
from metering.ledger import CreditGrant, books
from metering.money import checked
from metering.stores import AccountChange, KeyRecord

__all__ = [
    "add_key",
    "change",
    "changes",
    "create",
    "find_key",
    "get",
    "lock",
    "replace",
    "revoke_key",
]

_accounts = schema.accounts.c
_changes = schema.account_changes.c
_keys = schema.api_keys.c

_count_change = (
    insert(schema.account_changes)
    .values(id=1, count=1)
    .on_conflict_do_update(
        index_elements=[_changes.id], set_={"count": _changes["count"] + 1}
    )
)


def create(
    connection: Connection,
    account: Account,
    credit: CreditGrant | None,
    tiers: TierBook,
) -> Account:
    """Add an account with its credit, unless it is there."""
    checked_account(account, tiers)
    if credit is not None:
        checked_grant(credit, account.id)
    lock_new_accounts(connection)
    row = account_row(account, tiers, account.created_ns)
    row["debt_p"] = _debt_before(connection, account.id)
    added = connection.execute(
        insert(schema.accounts)
        .values(row)
        .on_conflict_do_nothing(index_elements=[_accounts.id])
        .returning(_accounts.id)
    ).first()
    if added is None:
        return get(connection, account.id)
    if credit is not None:
        connection.execute(insert(schema.credit_grants).values(grant_row(credit)))
        book(connection, [books.granted(credit)])
    connection.execute(_count_change)
    return account


def get(connection: Connection, account_id: str, *, to_write: bool = False) -> Account:
    """Return an account; *to_write* keeps others from it until the transaction ends."""
    wanted = select(schema.accounts).where(_accounts.id == account_id)
    if to_write:
        wanted = wanted.with_for_update(key_share=True)
    row = connection.execute(wanted).mappings().first()
    if row is None:
        raise no_account(account_id)
    return account_of(row)


def lock(connection: Connection, account_id: str) -> None:
    """Keep others from an account until the transaction ends, if there is one."""
    wanted = select(_accounts.id).where(_accounts.id == account_id)
    connection.execute(wanted.with_for_update(key_share=True))


def replace(
    connection: Connection, account: Account, tiers: TierBook, now_ns: int
) -> None:
    """Write an account's next version."""
    statement = update(schema.accounts).where(_accounts.id == account.id)
    connection.execute(statement.values(account_row(account, tiers, now_ns)))
    connection.execute(_count_change)


def change(
    connection: Connection,
    account_id: str,
    change: AccountChange,
    tiers: TierBook,
    now_ns: int,
) -> Account:
    """Apply a change to an account."""
    before = get(connection, account_id, to_write=True)
    after = changed(before, change, tiers, now_ns)
    replace(connection, after, tiers, now_ns)
    return after


def find_key(connection: Connection, key_hash: str, now_ns: int) -> KeyRecord | None:
    """Return the key of that hash with its account and credit, or None."""
    wanted = select(schema.api_keys).where(_keys.hash == key_hash)
    row = connection.execute(wanted).mappings().first()
    if row is None:
        return None
    key = key_of(row)
    account = get(connection, key.account_id)
    return KeyRecord(key, account, reading.credit(connection, account.id, now_ns))


def add_key(connection: Connection, key: ApiKey, in_use_max: int | None) -> None:
    """Add a key to an existing account."""
    get(connection, key.account_id, to_write=True)
    if in_use_max is not None:
        in_use = select(func.count()).where(
            _keys.account_id == key.account_id, _keys.revoked_ns.is_(None)
        )
        if connection.execute(in_use).scalar_one() >= in_use_max:
            raise too_many_keys(key.account_id, in_use_max)
    added = connection.execute(
        insert(schema.api_keys)
        .values(asdict(key))
        .on_conflict_do_nothing()
        .returning(_keys.id)
    ).first()
    if added is None:
        raise known_key(key)
    connection.execute(_count_change)


def revoke_key(connection: Connection, key_id: str, now_ns: int) -> ApiKey:
    """Mark a key revoked, once."""
    revoked = connection.execute(
        update(schema.api_keys)
        .where(_keys.id == key_id, _keys.revoked_ns.is_(None))
        .values(revoked_ns=now_ns)
    )
    if revoked.rowcount:
        connection.execute(_count_change)
    wanted = select(schema.api_keys).where(_keys.id == key_id)
    row = connection.execute(wanted).mappings().first()
    if row is None:
        raise no_key(key_id)
    return key_of(row)


def changes(connection: Connection) -> int:
    """Return how often accounts, keys or credit have changed."""
    return connection.execute(select(_changes["count"])).scalar_one_or_none() or 0


def _debt_before(connection: Connection, account_id: str) -> int:
    # What credit alone should pay of calls that were posted before the account was.
    events = schema.usage_events.c
    wanted = select(*reading.exact_sum(events.rest_p)).where(
        events.account_id == account_id, events.funding == "credit"
    )
    row = connection.execute(wanted).one()
    return checked(reading.joined_sum(row[0], row[1]))
