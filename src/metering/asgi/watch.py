"""Watches one response as it passes, and ends the call at the right moment, once."""

from functools import partial

from starlette.types import Message, Receive, Send

from metering.asgi.admission import hold_id_of
from metering.asgi.call_log import log_call
from metering.asgi.codings import (
    TooLongError,
    UndecodableError,
    coding_named,
    decoded_within,
)
from metering.asgi.compressed import open_reader
from metering.asgi.context import Call
from metering.asgi.headers import find_header, limit_headers
from metering.asgi.parts import Parts
from metering.asgi.record import closing_event, running_event
from metering.asgi.reported import header_time
from metering.asgi.untold import sent, told
from metering.clock import NS_PER_MS, NS_PER_S
from metering.dialects.dialect import Report, StreamReader
from metering.dialects.texts import TEXT_BYTES_MAX, KeepsText, Text, text_in, text_of
from metering.errors import StorageError
from metering.limit_rules import units_used
from metering.log import Log
from metering.money import format_usd
from metering.usage import Ending

__all__ = ["Watch"]

HELD_BYTES_MAX = 256 * 1024
"""A plain JSON answer up to this size is held until a header can tell its cost."""

READ_BYTES_MAX = 32 * 1024 * 1024
"""An answer above this size is passed on unread, and its usage estimated."""

_CHANGED = frozenset({b"content-length", b"content-encoding"})
"""What no longer holds of a stream out of which something was taken."""

_SERVED = range(200, 400)
"""Statuses of calls that are charged for."""

CHECKPOINT_NS = 2 * NS_PER_S
CHECKPOINT_CHUNKS = 512

_log = Log()


class Watch:
    """The `receive` and `send` of one call's app.

    The call ends with its end mark, its last body message, or without either; then
    its event is written, and only then does the client get the last of it.

    Attributes:
        left: Whether the client hung up before the answer was whole.
    """

    __slots__ = (
        "_call",
        "_chunks",
        "_client_wait_ns",
        "_coding",
        "_counted",
        "_direct",
        "_dispatched_ns",
        "_journal_due_ns",
        "_parts",
        "_plain",
        "_plain_bytes",
        "_reader",
        "_receive",
        "_send",
        "_settled",
        "_start",
        "_status",
        "_text",
        "_timed",
        "left",
    )

    def __init__(self, call: Call, parts: Parts, receive: Receive, send: Send) -> None:
        self._call = call
        self._parts = parts
        self._receive = receive
        self._send = send
        self._status = 0
        self._start: Message | None = None
        self._reader: StreamReader | None = None
        self._plain: list[bytes] | None = None
        self._plain_bytes = 0
        self._coding = b""
        self._text: KeepsText | None = None
        self._counted: Report | None = None
        self._chunks = 0
        self._journal_due_ns = call.now_ns + CHECKPOINT_NS
        self._client_wait_ns = 0
        self._settled = False
        price = None if call.quote is None else call.quote.price
        self._timed = price is not None and price.kind == "time"
        # Whether a chunk goes straight to the server: nothing else is to be done to it.
        self._direct = not self._timed
        self._dispatched_ns = parts.clock() if self._timed else call.now_ns
        self.left = False

    async def receive(self) -> Message:
        """Return the app's next message, and note a client that has gone."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._call.event is None:
            self.left = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the app on, read for usage."""
        reader = self._reader
        if reader is None or message["type"] != "http.response.body":
            await self._on_other(message)
            return
        # All of it is here, as it is done for each chunk of each stream.
        chunk = bytes(message.get("body", b""))
        more = message.get("more_body", False)
        out = reader.feed(chunk)
        if not more:
            out += reader.finish()
        call = self._call
        if (reader.ended or not more) and call.event is None:
            await self._complete()
        if out is not chunk:
            if not out and more and chunk:
                return
            message = {**message, "body": out}
        if self._direct:
            try:
                await self._send(message)
            except OSError:
                self._note_left()
                raise
        else:
            await self._forward(message)
        if call.event is None:
            self._chunks += 1
            if (
                self._chunks >= CHECKPOINT_CHUNKS
                or self._parts.clock() >= self._journal_due_ns
            ):
                self._checkpoint(reader)

    async def _on_other(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            await self._on_body(message)
        elif kind == "http.response.start":
            await self._on_start(message)
        elif kind == "http.response.pathsend":
            await self._complete()
            await self._release_start()
            await self._forward(message)
        else:
            await self._release_start()
            await self._forward(message)

    async def _on_start(self, message: Message) -> None:
        call = self._call
        self._status = message["status"]
        headers = [(bytes(k), bytes(v)) for k, v in message.get("headers", ())]
        if call.metered:
            headers = self._choose_reader(headers)
        if self._timed:
            call.header_time = header_time(headers)
        headers.append((b"x-usage-id", call.id.encode()))
        if not find_header(headers, b"x-request-id"):
            headers.append((b"x-request-id", call.id.encode()))
        headers += limit_headers(call.demands, call.verdicts)
        headers += call.headers
        if call.clamp is not None and call.clamp.changes:
            cap = b"%d" % call.clamp.output_tokens_max
            headers.append((b"x-output-tokens-limit", cap))
        started = {**message, "headers": headers}
        if self._start is None:
            await self._forward(started)
        else:
            self._start = started

    def _choose_reader(
        self, headers: list[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        kind = find_header(headers, b"content-type").lower()
        coding = find_header(headers, b"content-encoding")
        if coding:
            coding = coding_named((coding,))
        if kind.startswith(b"text/event-stream"):
            take_out = self._call.take_out_usage
            reader = self._call.dialect.read_stream(take_out_usage=take_out)
            if self._parts.tokenizer is not None and isinstance(reader, KeepsText):
                reader.written.keep(TEXT_BYTES_MAX)
                self._text = reader
            self._reader = open_reader(reader, coding, take_out_usage=take_out)
            if take_out and self._reader is not None:
                headers = [h for h in headers if h[0].lower() not in _CHANGED]
        elif b"json" in kind:
            self._plain = []
            self._coding = coding
            length = find_header(headers, b"content-length")
            if length.isdigit() and int(length[:9]) <= HELD_BYTES_MAX:
                self._start = {}
        return headers

    async def _on_body(self, message: Message) -> None:
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        if self._plain is not None:
            self._plain_bytes += len(chunk)
            if self._plain_bytes > HELD_BYTES_MAX:
                await self._release_start()
            if self._plain_bytes > READ_BYTES_MAX:
                self._plain = None
            else:
                self._plain.append(bytes(chunk))
        if more:
            if self._start is None:
                await self._forward(message)
            return
        await self._finish(message)

    async def _finish(self, message: Message) -> None:
        """Pass the last message of a plain answer on, with the cost in its start."""
        call, start = self._call, self._start
        await self._complete()
        if start is not None:
            self._start = None
            if call.event is not None and call.quote is not None:
                cost = format_usd(call.event.charge_p).encode()
                start["headers"].append((b"x-usage-cost-usd", cost))
            await self._forward(start)
            message = {**message, "body": b"".join(self._plain or ())}
        await self._forward(message)

    async def _complete(self) -> None:
        """End and settle the call before the last of it is sent.

        The send may never return (hypercorn's HTTP/2, once the client has left), and
        whoever has the answer finds the room that it left.
        """
        await self.count()
        self.end("completed")
        journal = self._parts.journal
        if self._parts.durable and journal is not None:
            try:
                await journal.durable()
            except StorageError as error:
                # The answer is there and is charged: it is not cut for its line.
                _log.error("call_not_durable", call=self._call.id, error=str(error))
        await self.settle()

    async def _release_start(self) -> None:
        """Pass on what was held of a plain answer: it is not what it seemed."""
        start, self._start = self._start, None
        if start is not None:
            await self._forward(start)
            body = b"".join(self._plain or ())
            if body:
                part = {"type": "http.response.body", "body": body, "more_body": True}
                await self._forward(part)

    async def _forward(self, message: Message) -> None:
        began_ns = self._parts.clock() if self._timed else 0
        try:
            await self._send(message)
        except OSError:
            self._note_left()
            raise
        finally:
            if self._timed:
                self._client_wait_ns += self._parts.clock() - began_ns

    def _note_left(self) -> None:
        if self._call.event is None:
            self.left = True

    def _checkpoint(self, reader: StreamReader) -> None:
        journal = self._parts.journal
        now_ns = self._parts.clock()
        self._chunks = 0
        self._journal_due_ns = now_ns + CHECKPOINT_NS
        if journal is not None:
            event = running_event(
                self._call,
                reader.report(),
                at_ns=now_ns,
                measured_ms=self._measured_ms(now_ns),
            )
            journal.checkpoint(event)

    async def count(self) -> None:
        """Have the tokens counted of a call that told no usage, if somebody does."""
        call, tokenizer = self._call, self._parts.tokenizer
        if tokenizer is None or call.event is not None or not call.metered:
            return
        if self._status not in _SERVED:
            return
        report = self._report()
        if report.refused or report.failed:
            return
        reported = call.reported is not None and call.reported.usage is not None
        if report.usage is None and not reported and sent(call) is None:
            began_ns = self._parts.clock()
            self._counted = await tokenizer.recount(
                call, report, partial(self._written, report.counted_tokens)
            )
            self._client_wait_ns += self._parts.clock() - began_ns

    def _written(self, tokens: int) -> Text | None:
        if self._text is not None:
            return text_of(self._text.written)
        body = self._body()
        return None if body is None else text_in(body, tokens)

    def end(self, ending: Ending) -> None:
        """End the call: its event is made and written. Again, it does nothing."""
        call = self._call
        if call.event is not None or not call.metered:
            return
        if ending in {"completed", "app_error"} and self.left:
            ending = "completed" if self._whole() else "client_gone"
        now_ns = self._parts.clock()
        call.event = closing_event(
            call,
            self._report(),
            ending,
            status=self._status,
            measured_ms=self._measured_ms(now_ns),
            ended_ns=now_ns,
            missing=self._parts.missing_usage,
        )
        if self._parts.journal is not None:
            self._parts.journal.close_call(call.event)
        if self._parts.observers.told:
            self._parts.observers.call_ended(call.event, call.request_headers)

    def _measured_ms(self, now_ns: int) -> int:
        spent_ns = now_ns - self._dispatched_ns - self._client_wait_ns
        return max(0, spent_ns) // NS_PER_MS

    def _whole(self) -> bool:
        # An app whose client has left may still send a last, empty message.
        return self._reader is not None and self._reader.ended

    def _report(self) -> Report:
        if self._counted is not None:
            return self._counted
        if self._reader is not None:
            return told(self._call, self._reader.report)
        body = self._body()
        if body is None:
            return Report()
        return told(self._call, partial(self._call.dialect.read_response, body))

    def _body(self) -> bytes | None:
        """Return a plain answer as the app meant it; None where it is not known."""
        if self._plain is None:
            return None
        body = b"".join(self._plain)
        try:
            if self._coding:
                return decoded_within(self._coding, body, READ_BYTES_MAX)
        except (TooLongError, UndecodableError):
            return None
        return body

    async def settle(self) -> None:
        """Replace the hold by what was used. Again, it does nothing."""
        if self._settled:
            return
        self._settled = True
        call, limiter = self._call, self._parts.limiter
        hold_id = hold_id_of(call)
        if limiter is not None and hold_id:
            await limiter.settle(hold_id, call.demands, _costs(call))
        if self._parts.log_calls and call.event is not None:
            log_call(call.event)


def _costs(call: Call) -> list[int]:
    """Return what the call used in the end of each quota."""
    event = call.event
    return [
        demand.cost
        if demand.unit == "requests"
        else 0
        if event is None
        else event.charge_p
        if demand.unit == "pico_usd"
        else units_used(demand.unit, event.usage)
        for demand in call.demands
    ]
