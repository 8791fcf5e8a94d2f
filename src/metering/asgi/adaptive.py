"""The adaptive piece: calls go upstream when the platform can take them, or wait."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metering.asgi.body import ClientLeftError, read_call
from metering.asgi.context import Call, call_of
from metering.asgi.gates import until_left
from metering.asgi.parts import Parts
from metering.asgi.piece import Piece
from metering.asgi.refusal import Refusal
from metering.errors import ConfigurationError
from metering.platform import Arrival, Busy, Upstream

__all__ = ["AdaptiveMiddleware"]

CLIENT_GONE = 499
_BYTES_PER_TOKEN = 4


class AdaptiveMiddleware(Piece):
    """Has calls wait for a moment, or refuses them, where the platform is busy.

    It belongs just around the app, so that it sees when a call goes there, when the
    first byte of its answer comes and when it ends. Calls wait unbilled, and what they
    took is given back if they leave, or if there is no room (503 and `retry-after`).
    Calls under contract limits go first. Needs `parts.platform`.

    Args:
        app: What to wrap.
        parts: What the pieces share.
    """

    name = "adaptive"

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        if parts.platform is None:
            raise ConfigurationError(
                "AdaptiveMiddleware needs a platform: Parts(platform=Platform(...))."
            )
        super().__init__(_Watched(app), parts)
        self.bare = app
        self._platform = parts.platform

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:
        """Plan to ask whether the platform takes the call."""
        refusal = await read_call(call, scope, receive, self.parts.body_bytes_max)
        if refusal is None and call.facts is not None:
            upstream = self._platform.upstream(call.model)
            call.gates.append(_Gate(upstream, self._arrival(call), receive))
        return refusal

    def _arrival(self, call: Call) -> Arrival:
        caller, klass = call.caller, 0
        if caller is not None and call.model_class not in caller.adaptive:
            klass = self._platform.class_of(caller.tier.level)
        return Arrival(
            call.id,
            "" if caller is None else caller.account.id,
            klass,
            len(call.body or b"") // _BYTES_PER_TOKEN,
            call.facts is not None and call.facts.streams,
        )


class _Gate:
    """One call's way to its upstream and back.

    Attributes:
        streams: Whether a first byte is awaited that is not yet there.
    """

    __slots__ = ("_arrival", "_receive", "_running", "_upstream", "status", "streams")

    def __init__(self, upstream: Upstream, arrival: Arrival, receive: Receive) -> None:
        self._upstream = upstream
        self._arrival = arrival
        self._receive = receive
        self._running = False
        self.status = CLIENT_GONE
        self.streams = arrival.streams

    async def enter(self) -> Refusal | None:
        """Go on, or wait for a moment, unless the client leaves."""
        upstream, call_id = self._upstream, self._arrival.call_id
        busy = upstream.ask(self._arrival)
        if busy is None and upstream.waits(call_id):
            answer: tuple[Busy | None] | None = None
            try:
                answer = await until_left(self._wait(), self._receive)
            finally:
                if answer is None:  # it may have been let go in this very moment
                    upstream.end(call_id, status=CLIENT_GONE)
            if answer is None:
                raise ClientLeftError
            busy = answer[0]
        self._running = busy is None
        return None if busy is None else _refusal(busy)

    def refused(self, refusal: Refusal) -> None:
        """The call was refused before it came here."""
        if self._arrival.klass == 0 and refusal.quota == "requests":
            self._upstream.limited(self._arrival.account_id)

    def first_byte(self) -> None:
        """The first byte of the answer came."""
        self.streams = False
        self._upstream.first_byte(self._arrival.call_id)

    def answered(self, output_tokens: int) -> None:
        """The answer is whole; again, it does nothing."""
        if self._running:
            self._running = False
            self._upstream.end(
                self._arrival.call_id, status=self.status, output_tokens=output_tokens
            )

    def leave(self) -> None:
        """The call has ended, however it did."""
        self.answered(0)

    async def _wait(self) -> tuple[Busy | None]:
        # In a tuple, for None alone would say that the client has left.
        return (await self._upstream.wait(self._arrival.call_id),)


def _refusal(busy: Busy) -> Refusal:
    return Refusal(
        "platform_busy",
        "The platform is busy, and the call is inside its own limits. Try again in"
        f" {busy.retry_after_ns / 1e9:.0f} s.",
        retry_after_ns=busy.retry_after_ns,
    )


class _Watched:
    """Tells the gate of a call what becomes of it in the app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = call_of(scope)
        gate = call.entered[-1] if call is not None and call.entered else None
        if not isinstance(gate, _Gate):
            await self.app(scope, receive, send)
            return
        written = 0

        async def send_seen(message: Message) -> None:
            nonlocal written
            kind = message["type"]
            if kind == "http.response.body":
                body = message.get("body", b"")
                if gate.streams and _says_something(body):
                    gate.first_byte()
                # A guess: an event of a stream is a token, and so are four bytes else.
                written += 1 if streams else len(body) // _BYTES_PER_TOKEN
                if not message.get("more_body", False):
                    gate.answered(written)
            elif kind == "http.response.start":
                gate.status = message["status"]
            await send(message)

        streams = gate.streams
        await self.app(scope, receive, send_seen)


def _says_something(chunk: bytes) -> bool:
    """Whether a chunk of a stream is more than comments, which keep it alive."""
    if chunk[:1] != b":":
        return bool(chunk)
    return any(line[:1] not in {b"", b":"} for line in chunk.splitlines())
