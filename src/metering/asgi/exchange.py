"""Carries out what the pieces planned: admit, rewrite, call the app, watch, settle."""

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from metering.asgi.admission import admit, release
from metering.asgi.body import CODING_HEADERS, ClientLeftError, Replay, rewritten
from metering.asgi.context import Call, call_of
from metering.asgi.drain import DrainingWatch
from metering.asgi.parts import Parts
from metering.asgi.record import opening_event, unserved_event
from metering.asgi.refusal import Refusal, send_refusal, storage_refusal
from metering.asgi.tell import tell_refused
from metering.asgi.watch import Watch
from metering.errors import JournalFullError, StorageError
from metering.journal import Journal

__all__ = ["Exchange"]


class Exchange:
    """The innermost part of every stack, put there by the innermost piece.

    Args:
        app: The app itself.
        parts: What the pieces share.
    """

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self.app = app
        self.bare = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one call from admission to settlement."""
        call = call_of(scope)
        if call is None:
            await self.app(scope, receive, send)
            return
        try:
            refusal = await self._open(call)
        except ClientLeftError:
            return
        if refusal is not None:
            tell_refused(call, refusal, self._parts)
            await send_refusal(call, refusal, send)
            return
        call.running = True
        try:
            await self._run(call, scope, receive, send)
        finally:
            leave(call)

    async def _run(
        self, call: Call, scope: Scope, receive: Receive, send: Send
    ) -> None:
        body = rewritten(call)
        inner: MutableMapping[str, Any] = scope
        if body is not None or call.metered or call.decoded:
            inner = {**scope, "headers": _inner_headers(scope, body, call)}
        replay: Receive | Replay = receive
        if call.body is not None:
            replay = Replay(call.body if body is None else body, receive)
        drains = self._parts.drain_ns and call.metered
        watch_kind = DrainingWatch if drains else Watch
        watch = watch_kind(call, self._parts, replay, send)
        try:
            await self.app(inner, watch.receive, watch.send)
            await watch.count()
        except BaseException as error:
            watch.end("app_error" if isinstance(error, Exception) else "cancelled")
            # Where the event loop is gone (GeneratorExit) nothing may suspend any more;
            # settling does not.
            await watch.settle()
            raise
        watch.end("client_gone" if watch.left else "app_error")
        await watch.settle()

    async def _open(self, call: Call) -> Refusal | None:
        journal = self._parts.journal
        if journal is not None and journal.is_full:
            call.returnable = True
        refusal = await admit(call, self._parts)
        if refusal is not None:
            for gate in call.gates:
                gate.refused(refusal)
            return refusal
        if call.gates:
            refusal = await self._enter(call)
        if refusal is not None or journal is None or not call.metered:
            return refusal
        refusal = await self._journal(call, journal)
        if refusal is not None:
            leave(call)
        return refusal

    async def _enter(self, call: Call) -> Refusal | None:
        """Pass the gates; where one is shut, give back all that was taken."""
        refusal: Refusal | None = None
        try:
            for gate in call.gates:
                refusal = await gate.enter()
                if refusal is not None:
                    break
                call.entered.append(gate)
        except BaseException:
            leave(call)
            await release(call, self._parts)
            raise
        if refusal is not None:
            leave(call)
            await release(call, self._parts)
        return refusal

    async def _journal(self, call: Call, journal: Journal) -> Refusal | None:
        try:
            journal.open_call(opening_event(call))
        except JournalFullError as error:
            await release(call, self._parts)
            return storage_refusal(error)
        if not self._parts.durable:
            return None
        try:
            await journal.durable()
        except BaseException as error:
            # The line is in the file, and an open one would be charged for its input.
            journal.close_call(unserved_event(call, self._parts.clock()))
            await release(call, self._parts)
            leave(call)
            if not isinstance(error, StorageError):
                raise
            return storage_refusal(error)
        return None


def leave(call: Call) -> None:
    """Leave the gates that the call has passed."""
    while call.entered:
        call.entered.pop().leave()


def _inner_headers(
    scope: Scope, body: bytes | None, call: Call
) -> list[tuple[bytes, bytes]]:
    # The body is whole now, however it came.
    dropped = {b"content-length", b"transfer-encoding"}
    if call.metered:
        # What comes back must be readable, for its usage.
        dropped.add(b"accept-encoding")
    if call.decoded:
        dropped |= CODING_HEADERS
    headers = [
        (name, value)
        for name, value in scope.get("headers", ())
        if name.lower() not in dropped
    ]
    length = len(call.body or b"") if body is None else len(body)
    headers.append((b"content-length", b"%d" % length))
    return headers
