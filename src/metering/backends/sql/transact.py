"""What runs a piece of work in a transaction of the ledger, for its parts."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection

__all__ = ["Transact"]

_Asked = ParamSpec("_Asked")
_Answer = TypeVar("_Answer")


class Transact(Protocol):
    """Runs something in a transaction of the ledger."""

    def __call__(
        self,
        work: Callable[Concatenate[Connection, _Asked], _Answer],
        *args: _Asked.args,
        **kwargs: _Asked.kwargs,
    ) -> _Answer:
        """Return what the work returns, given the connection and what it asks for."""
        ...
