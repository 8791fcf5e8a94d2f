"""A model server without a model: an ASGI app for tests, the demo and benchmarks."""

from collections import deque
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    MutableMapping,
)
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
import anyio.lowlevel
import msgspec

from metering.testing import anthropic_replies, openai_replies, responses_replies
from metering.testing.media_replies import (
    MEDIA_PATHS,
    AudioUsage,
    NotJson,
    form_of,
    media_job,
)
from metering.testing.reading import Json, RefusedError, check_model

__all__ = ["FakeCall", "FakeModel"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_CALLS_MAX = 1000
_CHAT = "/v1/chat/completions"
_COMPLETIONS = "/v1/completions"
_EMBEDDINGS = "/v1/embeddings"
_RESPONSES = "/v1/responses"
_MESSAGES = "/v1/messages"
_PATHS = frozenset(
    {_CHAT, _COMPLETIONS, _EMBEDDINGS, _RESPONSES, _MESSAGES, *MEDIA_PATHS}
)
_ERROR_EVENTS: Mapping[str, Callable[[str], bytes]] = {
    _RESPONSES: responses_replies.error_event,
    _MESSAGES: anthropic_replies.error_event,
}


class _Job(Protocol):
    """What is to be written for one request, whatever the dialect."""

    @property
    def streams(self) -> bool: ...

    def whole(self, *, tells_usage: bool) -> Json | NotJson: ...

    def events(self, *, tells_usage: bool) -> Iterator[bytes]: ...


@dataclass(slots=True)
class FakeCall:
    """What reached the app of one request, and what became of it.

    Attributes:
        path: The path that was called.
        headers: Headers by lower-case name; of equal names the last.
        raw: The body as it came.
        body: The same, decoded: a JSON object, or a form whose files are bytes. Empty
            if it is neither.
        chunks: Messages of the response's body that were sent.
        disconnected: Whether the client left before the end.
    """

    path: str
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""
    body: dict[str, Any] = field(default_factory=dict)
    chunks: int = 0
    disconnected: bool = False


class FakeModel:
    """Speaks OpenAI's dialects, of text, audio and images, and Anthropic's Messages.

    It reads as many tokens as there are words, and writes "w1 w2 w3 …". Equal requests
    get equal bytes. What vLLM or Anthropic refuse it refuses, with the same status. Of
    audio it hears how long a WAV file is, ten tokens a second.

    Args:
        models: Names it serves; empty for any.
        output_tokens: Tokens of one output that no bound cuts.
        compute_ms: Compute time to report, in vLLM's `metrics`; not in Responses and
            Messages, where no server tells it.
        cached_tokens: Input tokens to report as read from the cache.
        reasoning_tokens: Output tokens to report as reasoning.
        usage: Whether to tell usage at all.
        audio_usage: Whether transcripts tell it by the length of the audio, as whisper
            does, or by tokens. Streams of them always tell tokens.
        done: Whether a stream of chat or completions ends in `[DONE]`.
        pause: Awaited before each message of a body, with its number from 0: a test
            holds a stream there.
        fail_at: Number of body messages after which it raises RuntimeError.
        error_at: Number of events after which a stream tells an error and ends.
        status: Answer every call to a model with this status, if it is not 200.

    Attributes:
        calls: The last 1,000 calls to a model.
    """

    def __init__(
        self,
        *,
        models: Collection[str] = (),
        output_tokens: int = 64,
        compute_ms: int | None = None,
        cached_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        usage: bool = True,
        audio_usage: AudioUsage = "duration",
        done: bool = True,
        pause: Callable[[int], Awaitable[None]] | None = None,
        fail_at: int | None = None,
        error_at: int | None = None,
        status: int = 200,
    ) -> None:
        self.calls: deque[FakeCall] = deque(maxlen=_CALLS_MAX)
        self._models = tuple(models)
        self._output_tokens = output_tokens
        self._compute_ms = compute_ms
        self._cached_tokens = cached_tokens
        self._reasoning_tokens = reasoning_tokens
        self._usage = usage
        self._audio_usage: AudioUsage = audio_usage
        self._done = done
        self._pause = pause
        self._fail_at = fail_at
        self._error_at = error_at
        self._status = status

    async def __call__(
        self, scope: Mapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Serve one scope, as any ASGI app."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(
        self, scope: Mapping[str, Any], receive: Receive, send: Send
    ) -> None:
        path = scope["path"]
        if path == "/v1/models":
            listed = [{"id": name, "object": "model"} for name in self._models]
            await _answer(send, 200, {"object": "list", "data": listed})
        elif path == "/health":
            await _answer(send, 200, {})
        elif path not in _PATHS:
            await _answer(send, 404, {"detail": "Not Found"})
        else:
            call = FakeCall(path, _headers(scope))
            self.calls.append(call)
            try:
                await self._call(call, receive, send)
            except RefusedError as error:
                wording = anthropic_replies if path == _MESSAGES else openai_replies
                told = wording.refusal(error.status, str(error))
                await _answer(send, error.status, told)

    async def _call(self, call: FakeCall, receive: Receive, send: Send) -> None:
        call.raw = await _body(receive, call)
        if call.disconnected:
            return
        if self._status != 200:
            raise RefusedError(self._status, "The model was told to answer this.")
        kind = call.headers.get("content-type", "")
        forms = call.path in MEDIA_PATHS and kind.startswith("multipart/")
        call.body = form_of(kind, call.raw) if forms else _json(call.raw)
        check_model(call.body, self._models)
        answer: Json | NotJson
        if call.path == _EMBEDDINGS:
            answer = openai_replies.embeddings(call.body, tells_usage=self._usage)
        else:
            job = self._job_of(call)
            if job.streams:
                await self._stream(call, job, receive, send)
                return
            answer = job.whole(tells_usage=self._usage)
        await self._before(call)
        await _answer(send, 200, answer)
        call.chunks = 1

    def _job_of(self, call: FakeCall) -> _Job:
        if call.path in MEDIA_PATHS:
            return media_job(
                call.path,
                call.body,
                output_tokens=self._output_tokens,
                audio_usage=self._audio_usage,
            )
        if call.path == _MESSAGES:
            return anthropic_replies.message_job(
                call.body,
                output_tokens=self._output_tokens,
                cached_tokens=self._cached_tokens or 0,
                thinking_tokens=self._reasoning_tokens,
            )
        if call.path == _RESPONSES:
            return responses_replies.response_job(
                call.body,
                output_tokens=self._output_tokens,
                cached_tokens=self._cached_tokens,
                reasoning_tokens=self._reasoning_tokens,
            )
        return openai_replies.job_of(
            call.body,
            chat=call.path == _CHAT,
            output_tokens=self._output_tokens,
            figures=_figures(self._cached_tokens, self._reasoning_tokens),
            compute_ms=self._compute_ms,
        )

    async def _before(self, call: FakeCall) -> None:
        if self._pause is not None:
            await self._pause(call.chunks)
        if call.chunks == self._fail_at:
            raise RuntimeError(f"The fake model failed after {call.chunks} chunks.")

    async def _stream(
        self, call: FakeCall, job: _Job, receive: Receive, send: Send
    ) -> None:
        """Stream until the end or until the client leaves, then return normally."""
        failures: list[Exception] = []

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            call.disconnected = True
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            try:
                await self._write(call, job, send)
            except Exception as error:  # noqa: BLE001 - raised again, out of the group
                failures.append(error)
            tasks.cancel_scope.cancel()
        if failures:
            raise failures[0]

    async def _write(self, call: FakeCall, job: _Job, send: Send) -> None:
        await _start(send, 200, "text/event-stream; charset=utf-8")
        for event in job.events(tells_usage=self._usage):
            if call.chunks == self._error_at:
                tell = _ERROR_EVENTS.get(call.path, openai_replies.error_event)
                failed = tell("The model was told to fail.")
                await self._write_event(call, failed, send)
                break
            await self._write_event(call, event, send)
        if self._done and call.path in {_CHAT, _COMPLETIONS}:
            await self._write_event(call, b"data: [DONE]\n\n", send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write_event(self, call: FakeCall, body: bytes, send: Send) -> None:
        await self._before(call)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        call.chunks += 1
        await anyio.lowlevel.checkpoint()  # where a disconnect is noticed


def _figures(cached: int | None, reasoning: int | None) -> dict[str, object]:
    figures: dict[str, object] = {}
    if cached is not None:
        figures["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        figures["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return figures


async def _live(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    pairs = scope.get("headers", ())
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in pairs}


async def _body(receive: Receive, call: FakeCall) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            call.disconnected = True
            return b""
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _json(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RefusedError(400, "The body is no JSON object.") from None


async def _start(send: Send, status: int, kind: str, size: int | None = None) -> None:
    headers = [(b"content-type", kind.encode())]
    if size is not None:
        headers.append((b"content-length", str(size).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _answer(send: Send, status: int, content: Json | NotJson) -> None:
    kind, body = "application/json", b""
    if isinstance(content, NotJson):
        kind, body = content
    else:
        body = msgspec.json.encode(content)
    await _start(send, status, kind, len(body))
    await send({"type": "http.response.body", "body": body})
