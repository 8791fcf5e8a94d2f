"""Sessions of the console in SQL."""

from sqlalchemy import Connection, delete, insert, or_, select

from metering.backends.sql import schema
from metering.backends.sql.transact import Transact
from metering.stores import Session

__all__ = ["SqlSessions"]

_rows = schema.sessions.c
_keys = schema.api_keys.c


class SqlSessions:
    """The sessions of a ledger; see `Sessions`. Each method is one transaction.

    Args:
        read: Runs what only reads.
        write: Runs what writes.
    """

    def __init__(self, read: Transact, write: Transact) -> None:
        self._read = read
        self._write = write

    def begin(self, session: Session, *, at_most: int) -> None:
        """Add a session; see `Sessions.begin`."""
        self._write(_begin, session, at_most)

    def find(self, token_hash: str, *, now_ns: int) -> Session | None:
        """Return a session; see `Sessions.find`."""
        return self._read(_find, token_hash, now_ns)

    def end(self, token_hash: str) -> None:
        """Forget a session; see `Sessions.end`."""
        self._write(_end, token_hash)


def _begin(connection: Connection, session: Session, at_most: int) -> None:
    over = _rows.expires_ns <= session.created_ns
    connection.execute(delete(schema.sessions).where(over))
    latest = (
        select(_rows.token_hash)
        .where(_rows.credential == session.credential)
        .order_by(_rows.created_ns.desc(), _rows.token_hash)
    )
    others = connection.execute(latest).scalars().all()
    too_many = others[at_most - 1 :]
    if too_many:
        connection.execute(
            delete(schema.sessions).where(_rows.token_hash.in_(too_many))
        )
    connection.execute(
        insert(schema.sessions).values(
            token_hash=session.token_hash,
            account_id=session.account_id,
            credential=session.credential,
            created_ns=session.created_ns,
            expires_ns=session.expires_ns,
        )
    )


def _find(connection: Connection, token_hash: str, now_ns: int) -> Session | None:
    in_force = or_(
        _rows.account_id.is_(None), (_keys.id.is_not(None)) & _keys.revoked_ns.is_(None)
    )
    wanted = (
        select(schema.sessions)
        .outerjoin(schema.api_keys, _keys.id == _rows.credential)
        .where(_rows.token_hash == token_hash, _rows.expires_ns > now_ns, in_force)
    )
    row = connection.execute(wanted).mappings().first()
    return None if row is None else Session(**row)


def _end(connection: Connection, token_hash: str) -> None:
    connection.execute(delete(schema.sessions).where(_rows.token_hash == token_hash))
