"""Anthropic's Messages, as its own API, vLLM, SGLang and others serve them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from metering.dialects.anthropic_input import (
    estimate_input,
    template_tokens,
    unbounded_in,
)
from metering.dialects.anthropic_stream import MessageWatcher
from metering.dialects.anthropic_usage import read_answer, report_of
from metering.dialects.blocks import estimated_tokens, read_value
from metering.dialects.dialect import NO_DETAILS, Detail, Members, Report, StreamReader
from metering.dialects.figures import NULL, UNREADABLE
from metering.dialects.openai_members import is_set, model_of, number_of, read_bounds
from metering.facts import ReasoningBudget, RequestFacts
from metering.quota import Unit

__all__ = ["ANTHROPIC_MESSAGES", "AnthropicMessages"]

_THINKING: Final = "thinking"
_BUDGET: Final = "budget_tokens"
_BUDGET_MIN = 1024
_NOT_THINKING = b'{"type":"disabled"}'
_COMPACTION = b'"compact_'

_TYPE_BY_STATUS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TYPE_BY_CODE = {"platform_busy": "overloaded_error"}

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class AnthropicMessages:
    """The dialect of `/v1/messages`. Usage is always told and need not be asked for."""

    name: str = "anthropic.messages"
    paths: tuple[str, ...] = ("/v1/messages",)

    def read_request(self, members: Members) -> RequestFacts | None:
        """Return the facts of a request; None if it names no model."""
        model = model_of(members)
        if model is None:
            return None
        # 0 fills the prompt's cache and writes nothing.
        bounds, invalid = read_bounds(members, ("max_tokens",), zero_counts=True)
        # A context that is compacted is read, and a summary written, before the answer.
        edits = bytes(members.get("context_management", NULL))
        answers = 2 if _COMPACTION in edits else 1
        unbounded = unbounded_in(members)
        return RequestFacts(
            model=model,
            output_bounds=bounds,
            output_field="" if invalid else "max_tokens",
            reasoning=_budget_of(members),
            outputs=answers,
            # All members count: those that the model does not read are a few bytes.
            input_bytes=answers
            * (sum(map(len, members.values())) - unbounded.sent_bytes),
            template_tokens=answers * template_tokens(members),
            input_unbounded=unbounded.found,
            streams=is_set(members.get("stream")),
        )

    def estimate_input(self, members: Members) -> int:
        """Return about how many tokens the model reads, for want of a usage."""
        return estimate_input(members)

    def ask_usage(self, members: Members) -> dict[str, bytes]:  # noqa: ARG002 - nothing to ask
        """Return nothing: every stream tells its usage."""
        return {}

    def read_response(self, body: bytes) -> Report:
        """Return what a whole response body told."""
        answer = read_answer(body)
        if answer is None:
            return Report()
        report = report_of(answer)
        if report.usage is not None or report.failed:
            return report
        tokens = estimated_tokens(read_value(answer.content))
        return report._replace(counted_tokens=tokens)

    def read_stream(self, *, take_out_usage: bool) -> StreamReader:  # noqa: ARG002 - there is none
        """Return a reader for a streamed response."""
        return MessageWatcher()

    def error_body(
        self,
        *,
        status: int,
        code: str,
        message: str,
        unit: Unit = "requests",  # noqa: ARG002 - Anthropic has one type for all units
        details: Mapping[str, Detail] = NO_DETAILS,
        call_id: str = "",
    ) -> bytes:
        """Return a refusal as Anthropic's clients expect it."""
        usual = "api_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP's own line
        kind = _TYPE_BY_CODE.get(code) or _TYPE_BY_STATUS.get(status, usual)
        error = {
            "type": kind,
            "message": message,
            "details": {"error_code": code, **details},
        }
        body = {"type": "error", "error": error, "request_id": call_id or None}
        return msgspec.json.encode(body)


def _budget_of(members: Members) -> ReasoningBudget | None:
    raw = members.get(_THINKING, NULL)
    if raw == NULL:
        return None
    try:
        budget = _members.decode(raw).get(_BUDGET, NULL)
    except UNREADABLE:
        return None  # the app will refuse it
    tokens = None if budget == NULL else number_of(budget)
    if tokens is None:
        return None
    return ReasoningBudget(_THINKING, _BUDGET, tokens, _BUDGET_MIN, _NOT_THINKING)


ANTHROPIC_MESSAGES: Final = AnthropicMessages()
