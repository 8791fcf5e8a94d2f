"""What a model server of OpenAI's kind answers: counts, refusals and JSON. Pure."""

from collections.abc import Iterator, Mapping
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

__all__ = ["Job", "embeddings", "error_event", "job_of", "refusal"]

_QUEUE_MS = 700
"""Reported as queue time beside a compute time, so that a reader must take it off."""

_EMBEDDING = (0.25, -0.5, 0.75)


def refusal(status: int, message: str) -> Json:
    """Return an error as vLLM words it, for a body or an event."""
    kind = "BadRequestError" if status < 500 else "InternalServerError"
    error = {"message": message, "type": kind, "param": None, "code": status}
    return {"error": error}


def error_event(message: str) -> bytes:
    """Return the event that tells an error in mid-stream."""
    return _event(refusal(500, message))


def _event(data: Json) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


class Job(NamedTuple):
    """What is to be written for one request.

    Attributes:
        chat: Whether it is a chat, or a plain completion.
        model: As the request names it.
        input_tokens: Words of everything the model reads.
        choices: How many outputs are written.
        words: Tokens of each output.
        finish_reason: "length" where the request's bound cut the output, else "stop".
        streams: Whether the answer is a stream.
        usage_asked: Whether that stream is to tell its usage.
        figures: Members of the usage that the model was told to report.
        compute_ms: Compute time that it was told to report.
    """

    chat: bool
    model: str
    input_tokens: int
    choices: int
    words: int
    finish_reason: str
    streams: bool
    usage_asked: bool
    figures: Mapping[str, object]
    compute_ms: int | None

    def head(self) -> Json:
        """Return the members that open each object of the answer."""
        kind = "chat.completion" if self.chat else "text_completion"
        if self.chat and self.streams:
            kind += ".chunk"
        name = "chatcmpl-fake" if self.chat else "cmpl-fake"
        return {
            "id": name,
            "object": kind,
            "created": 1_768_435_200,
            "model": self.model,
        }

    def usage(self) -> Json:
        """Return the usage of the whole answer."""
        written = self.words * self.choices
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": written,
            "total_tokens": self.input_tokens + written,
            **self.figures,
        }

    def metrics(self) -> Json:
        """Return vLLM's `metrics`, whose times add up to the compute time."""
        if self.compute_ms is None:
            return {}
        if self.choices > 1:
            return {"metrics": None}
        first_ms = self.compute_ms // 3
        return {
            "metrics": {
                "time_to_first_token_ms": float(_QUEUE_MS + first_ms),
                "queue_time_ms": float(_QUEUE_MS),
                "generation_time_ms": float(self.compute_ms - first_ms),
            }
        }

    def whole(self, *, tells_usage: bool) -> Json:
        """Return the answer to a request that does not stream."""
        text = "".join(map(word_at, range(self.words)))
        said: Json = {"text": text}
        if self.chat:
            said = {"message": {"role": "assistant", "content": text}}
        reason = self.finish_reason
        choices = [
            {"index": at, **said, "logprobs": None, "finish_reason": reason}
            for at in range(self.choices)
        ]
        usage = {"usage": self.usage(), **self.metrics()} if tells_usage else {}
        return {**self.head(), "choices": choices, **usage}

    def events(self, *, tells_usage: bool) -> Iterator[bytes]:
        """Yield the events of the stream, without its `[DONE]`.

        Args:
            tells_usage: Whether the server tells usage when it is asked to.
        """
        return map(_event, self._chunks(tells_usage=tells_usage))

    def _chunks(self, *, tells_usage: bool) -> Iterator[Json]:
        no_usage: Json = {"usage": None} if self.usage_asked and tells_usage else {}
        for index in range(self.choices):
            for choice in self._parts(index):
                yield {**self.head(), "choices": [choice], **no_usage}
        if no_usage:
            yield {
                **self.head(),
                "choices": [],
                "usage": self.usage(),
                **self.metrics(),
            }

    def _parts(self, index: int) -> Iterator[Json]:
        if self.chat:
            yield self._part(index, {"role": "assistant", "content": ""})
        for at in range(self.words):
            yield self._part(index, {"content": word_at(at)})
        yield self._part(index, {}, self.finish_reason)

    def _part(self, index: int, delta: Json, reason: str | None = None) -> Json:
        told = {"delta": delta} if self.chat else {"text": delta.get("content", "")}
        return {"index": index, **told, "logprobs": None, "finish_reason": reason}


def embeddings(body: Json, *, tells_usage: bool) -> Json:
    """Return the answer to a request for embeddings."""
    texts = _prompts(wanted(body, "input"))
    words = sum(map(words_in, texts))
    usage = {"usage": {"prompt_tokens": words, "total_tokens": words}}
    data = [
        {"object": "embedding", "index": at, "embedding": _EMBEDDING}
        for at in range(len(texts))
    ]
    answer = {"object": "list", "model": body.get("model"), "data": data}
    return {**answer, **(usage if tells_usage else {})}


def job_of(
    body: Json,
    *,
    chat: bool,
    output_tokens: int,
    figures: Mapping[str, object],
    compute_ms: int | None,
) -> Job:
    """Return what *body* asks for.

    Args:
        body: The request.
        chat: Whether it is a chat, or a plain completion.
        output_tokens: Tokens of an output that nothing bounds.
        figures: Members to set in the usage.
        compute_ms: Compute time to report; None to report none.

    Raises:
        RefusedError: vLLM would not serve it.
    """
    streams = flag_in(body, "stream")
    options = body.get("stream_options")
    if options is not None and not streams:
        raise RefusedError(400, "Stream options can only be defined when stream=True.")
    texts = [_chat_text(body)] if chat else _prompts(wanted(body, "prompt"))
    most = _bound(body, chat=chat)
    floor = number_in(body, "min_tokens") or 0
    if most is not None and floor > most:
        raise RefusedError(400, f"min_tokens {floor} is above max_tokens {most}.")
    n = 1 if body.get("n") is None else number_in(body, "n")
    if not n or n < 1:
        raise RefusedError(400, f"n is {n}; it must be at least 1.")
    words = output_tokens if most is None else min(output_tokens, most)
    return Job(
        chat=chat,
        model=str(body.get("model", "")),
        input_tokens=sum(map(words_in, texts)),
        choices=n * len(texts),
        words=words,
        finish_reason="length" if words < output_tokens else "stop",
        streams=streams,
        usage_asked=isinstance(options, dict) and flag_in(options, "include_usage"),
        figures=figures,
        compute_ms=compute_ms,
    )


def _bound(body: Json, *, chat: bool) -> int | None:
    if not chat:
        most = number_in(body, "max_tokens") if "max_tokens" in body else 16
        least = 0 if flag_in(body, "echo") else 1
    else:
        most, least = number_in(body, "max_completion_tokens"), 1
        most = number_in(body, "max_tokens") if most is None else most
    if most is not None and most < least:
        raise RefusedError(400, f"max_tokens must be at least 1, got {most}.")
    return most


def _chat_text(body: Json) -> str:
    messages = wanted(body, "messages")
    texts: list[str] = []
    try:
        for message in msgspec.convert(messages, list[Json]):
            content = message.get("content") or ""
            parts = [{"text": content}] if isinstance(content, str) else content
            texts += [str(part.get("text", "")) for part in parts]
    except (msgspec.ValidationError, AttributeError):
        raise RefusedError(400, "messages is no list of messages.") from None
    return " ".join(texts)


def _prompts(prompt: object) -> list[object]:
    """Return the prompts that a string, a list of them or of token ids is."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return prompt
    return [prompt]
