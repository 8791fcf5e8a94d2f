"""The outbox in SQL: rows written with what they tell of, and taken by one sender."""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, Row, bindparam, delete, func, or_, select, update

from metering.backends.sql import schema
from metering.backends.sql.bulk import add_rows
from metering.backends.sql.reading import sliced
from metering.backends.sql.transact import Transact
from metering.ledger import Notice, Notices
from metering.stores import KeptMessage, OutboxMessage

__all__ = ["SqlOutbox", "add"]

_ERROR_CHARS_MAX = 300
_WAITING = "waiting"
_GIVEN_UP = "given up"

_rows = schema.outbox.c


def add(connection: Connection, notices: Iterable[Notice], plan: Notices) -> None:
    """Write new notices for whoever is told of them."""
    rows = [
        {
            "id": notice.id,
            "destination": destination,
            "kind": notice.kind,
            "account_id": notice.account_id,
            "body": notice.data.decode(),
            "created_ns": notice.at_ns,
            "due_ns": notice.at_ns,
            "attempts": 0,
            "state": _WAITING,
            "error": "",
        }
        for notice in notices
        for destination in plan.destinations(notice.kind)
    ]
    add_rows(connection, schema.outbox, rows)


class SqlOutbox:
    """The outbox of a ledger; see `Outbox`. Each method is one transaction.

    Args:
        read: Runs what only reads.
        write: Runs what writes.
    """

    def __init__(self, read: Transact, write: Transact) -> None:
        self._read = read
        self._write = write

    def take(
        self, destination: str, *, limit: int, lease_ns: int, now_ns: int
    ) -> list[OutboxMessage]:
        """Take what is due; who finds nothing has disturbed no writer."""
        if not self._read(_is_due, destination, now_ns):
            return []
        return self._write(_take, destination, limit, lease_ns, now_ns)

    def sent(self, messages: Sequence[OutboxMessage]) -> None:
        """Forget what has arrived."""
        self._write(_sent, messages)

    def failed(
        self, messages: Sequence[OutboxMessage], *, error: str, due_ns: int | None
    ) -> None:
        """Let messages wait, or give them up."""
        self._write(_failed, messages, error, due_ns)

    def give_up(self, destination: str, *, error: str) -> int:
        """Give up all that waits for a destination."""
        return self._write(_give_up, destination, error)

    def waiting(self) -> dict[str, int]:
        """Count what waits, by destination."""
        return self._read(_waiting)

    def kept(
        self,
        *,
        destination: str | None = None,
        given_up: bool | None = None,
        limit: int,
    ) -> list[KeptMessage]:
        """Read what has not arrived."""
        return self._read(_kept, destination, given_up=given_up, limit=limit)

    def resend(
        self,
        *,
        destination: str | None = None,
        message_id: str | None = None,
        now_ns: int,
    ) -> int:
        """Let what was given up be tried anew."""
        return self._write(_resend, destination, message_id, now_ns)

    def sweep(self, destinations: Collection[str], *, before_ns: int) -> int:
        """Forget what nobody will send."""
        return self._write(_sweep, destinations, before_ns)


def _is_due(connection: Connection, destination: str, now_ns: int) -> bool:
    wanted = select(_rows.id).where(
        _rows.destination == destination,
        _rows.state == _WAITING,
        _rows.due_ns <= now_ns,
    )
    return connection.execute(wanted.limit(1)).first() is not None


def _take(
    connection: Connection, destination: str, limit: int, lease_ns: int, now_ns: int
) -> list[OutboxMessage]:
    due = (
        select(_rows.id)
        .where(
            _rows.destination == destination,
            _rows.state == _WAITING,
            _rows.due_ns <= now_ns,
        )
        .order_by(_rows.due_ns, _rows.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = connection.execute(due).scalars().all()
    taken: dict[str, OutboxMessage] = {}
    for some in sliced(ids):
        statement = (
            update(schema.outbox)
            .where(_rows.destination == destination, _rows.id.in_(some))
            .values(due_ns=now_ns + lease_ns, attempts=_rows.attempts + 1)
            .returning(schema.outbox)
        )
        for row in connection.execute(statement):
            taken[row.id] = _message(row)
    return [taken[each] for each in ids]


def _message(row: Row[tuple[object, ...]]) -> OutboxMessage:
    return OutboxMessage(
        destination=row.destination,
        id=row.id,
        kind=row.kind,
        account_id=row.account_id,
        data=row.body.encode(),
        created_ns=row.created_ns,
        attempts=row.attempts,
    )


def _sent(connection: Connection, messages: Sequence[OutboxMessage]) -> None:
    for destination in {message.destination for message in messages}:
        ids = (each.id for each in messages if each.destination == destination)
        for some in sliced(ids):
            connection.execute(
                delete(schema.outbox).where(
                    _rows.destination == destination, _rows.id.in_(some)
                )
            )


def _failed(
    connection: Connection,
    messages: Sequence[OutboxMessage],
    error: str,
    due_ns: int | None,
) -> None:
    statement = update(schema.outbox).where(
        _rows.destination == bindparam("to"),
        _rows.id == bindparam("message_id"),
        _rows.attempts == bindparam("taken"),
        _rows.state == _WAITING,
    )
    shown = error[:_ERROR_CHARS_MAX]
    if due_ns is None:
        statement = statement.values(state=_GIVEN_UP, error=shown)
    else:
        statement = statement.values(due_ns=due_ns, error=shown)
    rows = [
        {"to": each.destination, "message_id": each.id, "taken": each.attempts}
        for each in messages
    ]
    connection.execute(statement, rows)


def _give_up(connection: Connection, destination: str, error: str) -> int:
    statement = update(schema.outbox).where(
        _rows.destination == destination, _rows.state == _WAITING
    )
    statement = statement.values(state=_GIVEN_UP, error=error[:_ERROR_CHARS_MAX])
    return connection.execute(statement).rowcount


def _waiting(connection: Connection) -> dict[str, int]:
    wanted = (
        select(_rows.destination, func.count().label("messages"))
        .where(_rows.state == _WAITING)
        .group_by(_rows.destination)
    )
    return {row.destination: row.messages for row in connection.execute(wanted)}


def _kept(
    connection: Connection,
    destination: str | None,
    *,
    given_up: bool | None,
    limit: int,
) -> list[KeptMessage]:
    wanted = select(schema.outbox).order_by(
        _rows.created_ns, _rows.id, _rows.destination
    )
    if destination is not None:
        wanted = wanted.where(_rows.destination == destination)
    if given_up is not None:
        wanted = wanted.where(_rows.state == (_GIVEN_UP if given_up else _WAITING))
    return [
        KeptMessage(
            destination=row.destination,
            id=row.id,
            kind=row.kind,
            account_id=row.account_id,
            created_ns=row.created_ns,
            due_ns=row.due_ns,
            attempts=row.attempts,
            given_up=row.state == _GIVEN_UP,
            error=row.error,
        )
        for row in connection.execute(wanted.limit(limit))
    ]


def _resend(
    connection: Connection,
    destination: str | None,
    message_id: str | None,
    now_ns: int,
) -> int:
    statement = update(schema.outbox).where(_rows.state == _GIVEN_UP)
    if destination is not None:
        statement = statement.where(_rows.destination == destination)
    if message_id is not None:
        statement = statement.where(_rows.id == message_id)
    again = {"state": _WAITING, "due_ns": now_ns, "attempts": 0}
    return connection.execute(statement.values(again)).rowcount


def _sweep(
    connection: Connection, destinations: Collection[str], before_ns: int
) -> int:
    nobody = or_(
        _rows.state == _GIVEN_UP, _rows.destination.not_in(sorted(destinations))
    )
    statement = delete(schema.outbox).where(_rows.created_ns < before_ns, nobody)
    return connection.execute(statement).rowcount
