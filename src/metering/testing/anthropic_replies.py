"""What a server of Anthropic's Messages answers: counts, refusals and events. Pure."""

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

__all__ = ["MessageJob", "error_event", "message_job", "refusal"]

_BUDGET_MIN = 1024

_TYPE_BY_STATUS = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def refusal(status: int, message: str) -> Json:
    """Return an error as Anthropic words it."""
    usual = "invalid_request_error" if status < 500 else "api_error"
    kind = _TYPE_BY_STATUS.get(status, usual)
    return {"type": "error", "error": {"type": kind, "message": message}}


def error_event(message: str) -> bytes:
    """Return the event that tells an error in mid-stream."""
    return _event(refusal(529, message))


def _event(data: Json) -> bytes:
    name = data["type"].encode()
    return b"event: %b\ndata: %b\n\n" % (name, msgspec.json.encode(data))


class MessageJob(NamedTuple):
    """What is to be written for one request.

    Attributes:
        model: As the request names it.
        input_tokens: Words of everything the model reads.
        cached_tokens: How many of them it is told to report as read from the cache.
        words: Tokens of the output.
        thinking_tokens: How many of them it is told to report as thinking, if any.
        stop_reason: "max_tokens" where the request's bound cut the output.
        streams: Whether the answer is a stream.
    """

    model: str
    input_tokens: int
    cached_tokens: int
    words: int
    thinking_tokens: int | None
    stop_reason: str
    streams: bool

    def usage(self) -> Json:
        """Return the usage of the whole answer: cached tokens lie beside the input."""
        told: Json = {
            "input_tokens": self.input_tokens - self.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.cached_tokens,
            "output_tokens": self.words,
            "server_tool_use": None,
        }
        if self.thinking_tokens is not None:
            details = {"thinking_tokens": self.thinking_tokens}
            told["output_tokens_details"] = details
        return told

    def whole(self, *, tells_usage: bool) -> Json:
        """Return the answer to a request that does not stream."""
        text = "".join(map(word_at, range(self.words)))
        content = [{"type": "text", "text": text}] if text else []
        usage = {"usage": self.usage()} if tells_usage else {}
        return self._message(content, self.stop_reason) | usage

    def events(self, *, tells_usage: bool) -> Iterator[bytes]:
        """Yield the events of the stream."""
        return map(_event, self._told(tells_usage=tells_usage))

    def _told(self, *, tells_usage: bool) -> Iterator[Json]:
        begun = {"usage": {**self.usage(), "output_tokens": min(self.words, 1)}}
        ended = {"usage": self.usage()}
        message = self._message([], None) | (begun if tells_usage else {})
        yield {"type": "message_start", "message": message}
        if self.words:
            block = {"type": "text", "text": ""}
            yield {"type": "content_block_start", "index": 0, "content_block": block}
            yield {"type": "ping"}
            for at in range(self.words):
                delta = {"type": "text_delta", "text": word_at(at)}
                yield {"type": "content_block_delta", "index": 0, "delta": delta}
            yield {"type": "content_block_stop", "index": 0}
        stopped = {"stop_reason": self.stop_reason, "stop_sequence": None}
        told = ended if tells_usage else {}
        yield {"type": "message_delta", "delta": stopped, **told}
        yield {"type": "message_stop"}

    def _message(self, content: list[Json], stop_reason: str | None) -> Json:
        return {
            "id": "msg_fake",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
        }


def message_job(
    body: Json, *, output_tokens: int, cached_tokens: int, thinking_tokens: int | None
) -> MessageJob:
    """Return what *body* asks for.

    Args:
        body: The request.
        output_tokens: Tokens of an output that nothing bounds.
        cached_tokens: Most input tokens to report as read from the cache.
        thinking_tokens: Output tokens to report as thinking; None to report none.

    Raises:
        RefusedError: Anthropic would not serve it.
    """
    wanted(body, "max_tokens")
    most = number_in(body, "max_tokens")
    if most is None or most < 0:
        raise RefusedError(400, f"max_tokens: {most} is not 0 or above.")
    _check_thinking(body, most)
    texts = [*_texts(wanted(body, "messages")), _text(body.get("system"))]
    input_tokens = sum(map(words_in, texts))
    words = min(output_tokens, most)
    return MessageJob(
        model=str(body.get("model", "")),
        input_tokens=input_tokens,
        cached_tokens=min(cached_tokens, input_tokens),
        words=words,
        thinking_tokens=thinking_tokens,
        stop_reason="max_tokens" if words < output_tokens else "end_turn",
        streams=flag_in(body, "stream"),
    )


def _check_thinking(body: Json, most: int) -> None:
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return
    budget = number_in(thinking, "budget_tokens")
    if budget is None or budget < _BUDGET_MIN:
        raise RefusedError(400, "thinking.budget_tokens: at least 1024 is needed.")
    if budget >= most:
        raise RefusedError(400, "max_tokens must be above thinking.budget_tokens.")


def _texts(messages: object) -> Iterator[str]:
    try:
        for message in msgspec.convert(messages, list[Json]):
            yield _text(message.get("content"))
    except msgspec.ValidationError:
        raise RefusedError(400, "messages: a list of messages is needed.") from None


def _text(content: object) -> str:
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    blocks = msgspec.convert(content, list[Json])
    return " ".join(str(block.get("text", "")) for block in blocks)
