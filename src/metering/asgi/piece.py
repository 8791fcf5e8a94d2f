"""What every piece is: a layer that plans, and hands the call on or refuses it."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from metering.asgi.body import ClientLeftError
from metering.asgi.context import STATE_KEY, Call, call_of
from metering.asgi.doors import Doors, refuse_websocket, route_not_metered
from metering.asgi.exchange import Exchange
from metering.asgi.parts import Parts
from metering.asgi.refusal import Refusal, send_refusal, storage_refusal
from metering.asgi.tell import tell_refused
from metering.dialects.known import UNMETERED
from metering.errors import ConfigurationError, StorageError
from metering.ids import uuid7

__all__ = ["Piece", "pieces_inside"]

ORDER = ("tier", "clamp", "billing", "limiter", "meter", "coldstart", "adaptive")
"""The pieces, and what goes with them, from the outermost to the innermost."""

Plan = Callable[[Call, Scope, Receive], Awaitable[Refusal | None]]


class Piece(ABC):
    """One of the five pieces, as pure ASGI.

    A piece finds out what lies inside it by following `app` attributes. The innermost
    one puts the Exchange around the app, so that each piece works alone.

    Args:
        app: What to wrap.
        parts: Services and settings that the pieces share.

    Raises:
        ConfigurationError: The piece has one inside that belongs outside it.
    """

    name = ""
    parts: Parts

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        inside = pieces_inside(app)
        misplaced = [n for n in inside if ORDER.index(n) <= ORDER.index(self.name)]
        if misplaced:
            right = [n for n in ORDER if n in {*inside, self.name}]
            raise ConfigurationError(
                f"The {self.name} piece has {misplaced[0]} inside it. From the"
                f" outermost to the innermost, each once: {', '.join(right)}."
            )
        shared = next((p.parts for p in _inside(app)), parts)
        if shared is not parts:
            raise ConfigurationError(
                f"The {self.name} piece has Parts of its own. All pieces around one app"
                " share one Parts: the innermost carries out what all have planned."
            )
        self.parts = parts
        self._doors = Doors(
            parts.routes,
            bills="billing" in {self.name, *inside},
            unmetered_refused=parts.unmetered_refused,
        )
        self.app: ASGIApp = app if inside else Exchange(app, parts)
        # Where no piece has anything to do, the app is one step away, not six.
        self.bare: ASGIApp = getattr(self.app, "bare", self.app)
        # Pieces that lie right in one another plan in one loop, then hand on once.
        self.plans: tuple[Plan, ...] = (self.plan,)
        self.inmost = self.app
        if isinstance(app, Piece):
            self.plans += app.plans
            self.inmost = app.inmost

    @abstractmethod
    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:
        """Add to the call what this piece knows, or return why it is refused."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Plan, then hand on; what serves no model passes untouched."""
        if scope["type"] != "http":
            websocket = scope["type"] == "websocket"
            if websocket and self._doors.dialect_of(scope) is UNMETERED:
                await refuse_websocket(scope, send)
            else:
                await self.bare(scope, receive, send)
            return
        call = call_of(scope) or self._begin(scope)
        if call is None or call.running:  # or another stack carries it out already
            await self.bare(scope, receive, send)
            return
        plans = (route_not_metered,) if call.dialect is UNMETERED else self.plans
        await self._attempt(call, scope, receive, send, plans)

    async def _attempt(
        self,
        call: Call,
        scope: Scope,
        receive: Receive,
        send: Send,
        plans: Iterable[Plan],
    ) -> None:
        """Plan, then hand on, or answer why not."""
        refusal: Refusal | None = None
        try:
            for plan in plans:
                refusal = await plan(call, scope, receive)
                if refusal is not None:
                    break
        except ClientLeftError:
            return
        except StorageError as error:
            refusal = storage_refusal(error)
        if refusal is None:
            await self.inmost(scope, receive, send)
            return
        tell_refused(call, refusal, self.parts)
        await send_refusal(call, refusal, send)

    def _begin(self, scope: Scope) -> Call | None:
        if scope["method"] != "POST":
            return None
        dialect = self._doors.dialect_of(scope)
        if dialect is None:
            return None
        now_ns = self.parts.clock()
        call = Call(uuid7(now_ns), dialect, now_ns)
        call.request_headers = scope.get("headers", ())
        # In place: layers outside and inside share this dict by reference.
        scope.setdefault("state", {})[STATE_KEY] = call
        return call


def pieces_inside(app: object) -> list[str]:
    """Return the names of the pieces within *app*, the outermost first."""
    return [piece.name for piece in _inside(app)]


def _inside(app: object) -> Iterator[Piece]:
    while app is not None:
        if isinstance(app, Piece):
            yield app
        app = getattr(app, "app", None)
