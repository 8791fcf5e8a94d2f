"""What the three OpenAI dialects share: each is this class with a reader of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from metering.dialects.dialect import NO_DETAILS, Detail, Members, Report, StreamReader
from metering.dialects.openai_input import estimate_input
from metering.dialects.openai_members import ask_usage
from metering.dialects.openai_stream import UsageRemover, UsageWatcher
from metering.dialects.openai_usage import read_answer, report_of, written_tokens
from metering.facts import RequestFacts
from metering.quota import Unit

__all__ = ["OpenAIDialect"]

_TYPE_BY_CODE = {
    "rate_limit_exceeded": "requests",
    "budget_in_flight": "requests",
    "insufficient_quota": "insufficient_quota",
    "usage_limit_reached": "insufficient_quota",
}


@dataclass(frozen=True, slots=True)
class OpenAIDialect:
    """A wire dialect whose answers carry OpenAI's `usage`, `error` and event stream.

    Attributes:
        name: Short name, recorded with each event.
        paths: Route paths it is spoken on by default.
        facts_of: Returns the facts of a request; None if it names no model.
        writes: Whether the model writes tokens (embeddings do not).
    """

    name: str
    paths: tuple[str, ...]
    facts_of: Callable[[Members], RequestFacts | None]
    writes: bool = True

    def read_request(self, members: Members) -> RequestFacts | None:
        """Return the facts of a request; None if it names no model."""
        return self.facts_of(members)

    def estimate_input(self, members: Members) -> int:
        """Return about how many tokens the model reads, for want of a usage."""
        return estimate_input(members)

    def ask_usage(self, members: Members) -> dict[str, bytes]:
        """Return the members to write so that a stream tells its usage."""
        return ask_usage(members) if self.writes else {}

    def read_response(self, body: bytes) -> Report:
        """Return what a whole response body told."""
        answer = read_answer(body)
        if answer is None:
            return Report()
        report = report_of(answer, writes=self.writes)
        if report.usage is not None or report.failed:
            return report
        return report._replace(counted_tokens=written_tokens(answer))

    def read_stream(self, *, take_out_usage: bool) -> StreamReader:
        """Return a reader for a streamed response."""
        if take_out_usage:
            return UsageRemover(writes=self.writes)
        return UsageWatcher(writes=self.writes)

    def error_body(
        self,
        *,
        status: int,
        code: str,
        message: str,
        unit: Unit = "requests",
        details: Mapping[str, Detail] = NO_DETAILS,
        call_id: str = "",  # noqa: ARG002 - OpenAI's errors tell it in a header alone
    ) -> bytes:
        """Return a refusal as OpenAI's clients expect it."""
        usual = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP's own line
        kind = _TYPE_BY_CODE.get(code, usual)
        if kind == "requests" and unit.endswith("tokens"):
            kind = "tokens"
        error = {"message": message, "type": kind, "code": code, "param": None}
        return msgspec.json.encode({"error": {**error, **details}})
