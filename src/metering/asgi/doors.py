"""Which requests are for a model, and what becomes of those that no dialect meters."""

from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from metering.asgi.context import Call, route_path
from metering.asgi.refusal import NAME_SHOWN_MAX, Refusal
from metering.dialects.dialect import Dialect
from metering.dialects.known import DIALECT_BY_ENDING, UNMETERED, ending_of, names_model
from metering.log import Log

__all__ = ["Doors", "refuse_websocket", "route_not_metered"]

_WARNED_MAX = 64
_POLICY_VIOLATED = 1008  # RFC 6455

_log = Log()


class Doors:
    """Knows by its path what is spoken in a request.

    Args:
        routes: Dialect by path; None for a path that is left alone.
        bills: Whether what is not metered concerns anyone.
        unmetered_refused: Whether it is then refused; else it passes with a warning.
    """

    __slots__ = ("_bills", "_refuses", "_routes", "_warned")

    def __init__(
        self,
        routes: Mapping[str, Dialect | None],
        *,
        bills: bool,
        unmetered_refused: bool,
    ) -> None:
        self._routes = routes
        self._bills = bills
        self._refuses = unmetered_refused
        self._warned: set[str] = set()

    def dialect_of(self, scope: Scope) -> Dialect | None:
        """Return what is spoken: `UNMETERED` to refuse it, None to leave it alone.

        Dialects are spoken over HTTP: where a websocket leads to a model, nothing here
        meters it.
        """
        routes, path = self._routes, scope["path"]
        if path not in routes:
            path = route_path(scope)
        if path in routes:
            dialect = routes[path]
        elif self._bills and self._refuses and names_model(path):
            return UNMETERED  # it would be priced by the body's model
        else:
            dialect = DIALECT_BY_ENDING.get(ending_of(path))
        if dialect is not None and scope["type"] == "websocket":
            dialect = UNMETERED
        if dialect is UNMETERED and not self._refuses_unmetered(path):
            return None
        return dialect

    def _refuses_unmetered(self, path: str) -> bool:
        if self._bills and not self._refuses:
            self._warn(path[:NAME_SHOWN_MAX])
        return self._bills and self._refuses

    def _warn(self, path: str) -> None:
        """Log, once a path, that a model is served there and nobody pays for it."""
        if path not in self._warned and len(self._warned) < _WARNED_MAX:
            self._warned.add(path)
            _log.warning("route_not_metered", path=path)


async def route_not_metered(call: Call, scope: Scope, receive: Receive) -> Refusal:  # noqa: ARG001 - it is the plan of a piece
    """Refuse a request to a model that nothing here meters."""
    path = route_path(scope)[:NAME_SHOWN_MAX]
    return Refusal(
        "route_not_metered",
        f"The path {path!r} serves a model in a way that is not metered here, and"
        " nothing is served unmetered. Use the Chat Completions, Completions,"
        " Embeddings, Responses, Messages, audio or images API. Its operator can name"
        ' the dialect spoken there, or "none" where it serves no model, in [[routes]],'
        ' or let all such paths pass with calls.unmetered = "pass".',
    )


async def refuse_websocket(scope: Scope, send: Send) -> None:
    """Turn away a websocket to a model before it is accepted: the client sees a 403."""
    code, path = "route_not_metered", route_path(scope)[:NAME_SHOWN_MAX]
    _log.info("call_refused", code=code, path=path)
    await send({"type": "websocket.close", "code": _POLICY_VIOLATED, "reason": code})
