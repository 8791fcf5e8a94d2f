"""What a server of OpenAI's Responses answers: counts, refusals and events. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from metering.testing.reading import (
    Json,
    RefusedError,
    flag_in,
    number_in,
    wanted,
    word_at,
    words_in,
)

__all__ = ["ResponseJob", "error_event", "response_job"]


def error_event(message: str) -> bytes:
    """Return the event that tells an error in mid-stream."""
    return _event({"type": "error", "code": "server_error", "message": message}, 0)


def _event(data: Json, number: int) -> bytes:
    told = msgspec.json.encode({**data, "sequence_number": number})
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), told)


class ResponseJob(NamedTuple):
    """What is to be written for one request.

    Attributes:
        model: As the request names it.
        input_tokens: Words of everything the model reads.
        words: Tokens of the output.
        cut: Whether the request's bound cut the output.
        streams: Whether the answer is a stream.
        background: Whether the answer is only that the work has begun.
        figures: Members of the usage that the model was told to report.
    """

    model: str
    input_tokens: int
    words: int
    cut: bool
    streams: bool
    background: bool
    figures: Json

    def usage(self) -> Json:
        """Return the usage of the whole answer."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.words,
            "total_tokens": self.input_tokens + self.words,
            **self.figures,
        }

    def whole(self, *, tells_usage: bool) -> Json:
        """Return the answer to a request that does not stream."""
        if self.background:
            return self._response("queued")
        status = "incomplete" if self.cut else "completed"
        ended = self._response(status) | {"output": [self._message()]}
        if self.cut:
            ended["incomplete_details"] = {"reason": "max_output_tokens"}
        return ended | ({"usage": self.usage()} if tells_usage else {})

    def events(self, *, tells_usage: bool) -> Iterator[bytes]:
        """Yield the events of the stream."""
        told = self._told(self.whole(tells_usage=tells_usage))
        return (_event(data, number) for number, data in enumerate(told))

    def _told(self, ended: Json) -> Iterator[Json]:
        begun = self._response("in_progress")
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        here = {"item_id": "msg_fake", "output_index": 0, "content_index": 0}
        item = {**self._message(), "status": "in_progress", "content": []}
        yield {"type": "response.output_item.added", "output_index": 0, "item": item}
        part = {"type": "output_text", "text": "", "annotations": []}
        yield {"type": "response.content_part.added", **here, "part": part}
        for at in range(self.words):
            delta = {"delta": word_at(at), "logprobs": []}
            yield {"type": "response.output_text.delta", **here, **delta}
        done = {"text": self._text(), "logprobs": []}
        yield {"type": "response.output_text.done", **here, **done}
        item = self._message()
        yield {"type": "response.output_item.done", "output_index": 0, "item": item}
        yield {"type": f"response.{ended['status']}", "response": ended}

    def _text(self) -> str:
        return "".join(map(word_at, range(self.words)))

    def _message(self) -> Json:
        part = {"type": "output_text", "text": self._text(), "annotations": []}
        return {
            "id": "msg_fake",
            "type": "message",
            "role": "assistant",
            "status": "incomplete" if self.cut else "completed",
            "content": [part],
        }

    def _response(self, status: str) -> Json:
        return {
            "id": "resp_fake",
            "object": "response",
            "created_at": 1_768_435_200,
            "status": status,
            "background": self.background,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "model": self.model,
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": None,
        }


def response_job(
    body: Json,
    *,
    output_tokens: int,
    cached_tokens: int | None,
    reasoning_tokens: int | None,
) -> ResponseJob:
    """Return what *body* asks for.

    Args:
        body: The request.
        output_tokens: Tokens of an output that nothing bounds.
        cached_tokens: Input tokens to report as read from the cache.
        reasoning_tokens: Output tokens to report as reasoning.

    Raises:
        RefusedError: vLLM would not serve it.
    """
    streams, background = flag_in(body, "stream"), flag_in(body, "background")
    if body.get("stream_options") is not None and not streams:
        raise RefusedError(400, "Stream options can only be defined when stream=True.")
    if background and body.get("store") is False:
        raise RefusedError(400, "background needs store.")
    if body.get("previous_response_id") is not None:
        raise RefusedError(404, "There is no such response.")
    most = number_in(body, "max_output_tokens")
    if most is not None and most < 1:
        raise RefusedError(400, f"max_output_tokens must be at least 1, got {most}.")
    words = output_tokens if most is None else min(output_tokens, most)
    texts = [str(body.get("instructions") or ""), *_texts(wanted(body, "input"))]
    return ResponseJob(
        model=str(body.get("model", "")),
        input_tokens=sum(map(words_in, texts)),
        words=words,
        cut=words < output_tokens,
        streams=streams,
        background=background,
        figures={
            "input_tokens_details": {"cached_tokens": cached_tokens or 0},
            "output_tokens_details": {"reasoning_tokens": reasoning_tokens or 0},
        },
    )


def _texts(read: object) -> Iterator[str]:
    if isinstance(read, str):
        yield read
        return
    try:
        for item in msgspec.convert(read, list[Json]):
            content = item.get("content") or ""
            parts = [{"text": content}] if isinstance(content, str) else content
            yield from (str(part.get("text", "")) for part in parts)
    except (msgspec.ValidationError, AttributeError):
        raise RefusedError(400, "input is no text or list of items.") from None
