"""OpenAI's Responses, as its own API, vLLM and others serve them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from metering.dialects.blocks import estimated_tokens, read_value
from metering.dialects.dialect import NO_DETAILS, Detail, Members, Report, StreamReader
from metering.dialects.openai_chat import OPENAI_CHAT, TEMPLATE_TOKENS
from metering.dialects.openai_members import is_set, model_of, read_bounds
from metering.dialects.responses_input import estimate_input, unbounded_in
from metering.dialects.responses_stream import ResponseWatcher
from metering.dialects.responses_usage import read_response, report_of
from metering.facts import RequestFacts
from metering.quota import Unit

__all__ = ["OPENAI_RESPONSES", "OpenAIResponses"]

_BOUND: Final = "max_output_tokens"
_BACKGROUND: Final = "background"


@dataclass(frozen=True, slots=True)
class OpenAIResponses:
    """The dialect of `/v1/responses`. Usage is always told and need not be asked for.

    What runs in the background answers at once, and tells its usage to whoever asks
    later: such a request is unmetered.
    """

    name: str = "openai.responses"
    paths: tuple[str, ...] = ("/v1/responses",)

    def read_request(self, members: Members) -> RequestFacts | None:
        """Return the facts of a request; None if it names no model."""
        model = model_of(members)
        if model is None:
            return None
        bounds, invalid = read_bounds(members, (_BOUND,))
        unbounded = unbounded_in(members)
        return RequestFacts(
            model=model,
            output_bounds=bounds,
            output_field="" if invalid else _BOUND,
            # All members count: those that the model does not read are a few bytes.
            input_bytes=sum(map(len, members.values())) - unbounded.sent_bytes,
            template_tokens=TEMPLATE_TOKENS,
            input_unbounded=unbounded.found,
            streams=is_set(members.get("stream")),
            unmetered=_BACKGROUND if is_set(members.get(_BACKGROUND)) else "",
        )

    def estimate_input(self, members: Members) -> int:
        """Return about how many tokens the model reads, for want of a usage."""
        return estimate_input(members)

    def ask_usage(self, members: Members) -> dict[str, bytes]:  # noqa: ARG002 - nothing to ask
        """Return nothing: every stream tells its usage."""
        return {}

    def read_response(self, body: bytes) -> Report:
        """Return what a whole response body told."""
        response = read_response(body)
        if response is None:
            return Report()
        report = report_of(response)
        if report.usage is not None or report.failed:
            return report
        tokens = estimated_tokens(read_value(response.output))
        return report._replace(counted_tokens=tokens)

    def read_stream(self, *, take_out_usage: bool) -> StreamReader:  # noqa: ARG002 - there is none
        """Return a reader for a streamed response."""
        return ResponseWatcher()

    def error_body(
        self,
        *,
        status: int,
        code: str,
        message: str,
        unit: Unit = "requests",
        details: Mapping[str, Detail] = NO_DETAILS,
        call_id: str = "",
    ) -> bytes:
        """Return a refusal as OpenAI's clients expect it."""
        return OPENAI_CHAT.error_body(
            status=status,
            code=code,
            message=message,
            unit=unit,
            details=details,
            call_id=call_id,
        )


OPENAI_RESPONSES: Final = OpenAIResponses()
