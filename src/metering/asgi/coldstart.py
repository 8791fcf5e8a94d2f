"""The cold-start piece: a call waits, unbilled, until its model is warm."""

from starlette.types import ASGIApp, Receive, Scope

from metering.asgi.body import ClientLeftError, read_call
from metering.asgi.context import Call
from metering.asgi.gates import until_left
from metering.asgi.parts import Parts
from metering.asgi.piece import Piece
from metering.asgi.refusal import Refusal
from metering.clock import NS_PER_MS
from metering.coldstart import ColdStart, NotReady

__all__ = ["ColdStartMiddleware"]


class ColdStartMiddleware(Piece):
    """Has calls wait for models that are not warm. It belongs just around the app.

    A call waits when it has been admitted, and before anything of it is recorded: what
    it took is given back if it leaves, or if the queue is full or too slow (503 and
    `retry-after`). Its compute time begins when it is let through. A call that waited
    is told how long, in `x-cold-start-ms`.

    Args:
        app: What to wrap.
        parts: What the pieces share.
        cold: Warms models up, and knows which are warm.
    """

    name = "coldstart"

    def __init__(self, app: ASGIApp, parts: Parts, cold: ColdStart) -> None:
        super().__init__(app, parts)
        self.cold = cold

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:
        """Plan to wait."""
        refusal = await read_call(call, scope, receive, self.parts.body_bytes_max)
        if refusal is None and call.facts is not None:
            call.gates.append(_Gate(self.cold, call.model, call, receive))
        return refusal


class _Gate:
    """One call's way through the cold start."""

    def __init__(
        self, cold: ColdStart, model: str, call: Call, receive: Receive
    ) -> None:
        self._cold = cold
        self._model = model
        self._call = call
        self._receive = receive
        self._uses = False

    async def enter(self) -> Refusal | None:
        """Wait until the model is warm, unless the client leaves."""
        if self._cold.status(self._model) == "warm":
            answer: NotReady | int | None = await self._wait()
        else:
            answer = None
            try:
                answer = await until_left(self._wait(), self._receive)
            finally:
                if answer is None and self._uses:  # let through in this very moment
                    self.leave()
        if answer is None:
            raise ClientLeftError
        if isinstance(answer, NotReady):
            return Refusal(
                "model_not_ready",
                f"{answer.reason}. Try again in {answer.retry_after_ns / 1e9:.0f} s.",
                retry_after_ns=answer.retry_after_ns,
            )
        if answer:
            waited_ms = b"%d" % (answer // NS_PER_MS)
            self._call.headers.append((b"x-cold-start-ms", waited_ms))
        return None

    def refused(self, refusal: Refusal) -> None:
        """The call was refused before it came here."""

    def leave(self) -> None:
        """The call has ended."""
        self._uses = False
        self._cold.leave(self._model)

    async def _wait(self) -> NotReady | int:
        answer = await self._cold.enter(self._model)
        self._uses = not isinstance(answer, NotReady)
        return answer
