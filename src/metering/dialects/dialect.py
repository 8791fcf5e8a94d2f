"""What a wire dialect can tell of a request and of the response to it.

A dialect knows bytes and JSON, nothing of HTTP, accounts or money. Reading never raises
on what a client or an app sent: what cannot be read is absent.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

import msgspec

from metering.facts import RequestFacts
from metering.quota import Unit
from metering.usage import Usage

__all__ = ["NO_DETAILS", "Detail", "Dialect", "Members", "Report", "StreamReader"]

Detail = str | int
"""What an error may tell beside its message, such as an amount or a count."""

NO_DETAILS: Mapping[str, Detail] = MappingProxyType({})

Members = Mapping[str, msgspec.Raw]
"""The top-level members of a JSON request, each still the bytes it was sent as.

The last of two equal names wins, as in every server tried; what is rewritten from here
therefore says one thing only.
"""


class Report(NamedTuple):
    """What a response told of its cost.

    Attributes:
        usage: Quantities; None where the response named none (absent is not zero).
        counted_tokens: Output tokens counted on the way, for want of a usage.
        time_source: Where `usage.compute_ms` came from; "" if it is not known.
        failed: Whether the response carried an error in place of an answer.
        refused: Why the usage it named was set aside, as it cannot be true; "" if it
            was not. `usage` is then None, and never to be taken for zero.
        untold: Which part of its quantities `usage` does not know, of one that has
            several: "tokens" or "audio_ms"; "" if it knows all.
        partial: Whether more was written than `usage` was told for: its output is
            then what was counted on the way.
    """

    usage: Usage | None = None
    counted_tokens: int = 0
    time_source: str = ""
    failed: bool = False
    refused: str = ""
    partial: bool = False
    untold: Literal["", "tokens", "audio_ms"] = ""


class StreamReader(Protocol):
    """Follows one streamed response, chunk by chunk, in bounded memory."""

    @property
    def ended(self) -> bool:
        """Whether the dialect's end mark has been seen."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """Take the next body chunk and return the bytes to forward for it.

        A reader that takes nothing out returns *chunk* itself. One that does may hold
        back the one unfinished event, at most 64 kB.
        """
        ...

    def finish(self) -> bytes:
        """Return what was held back. Call it once, when the body has ended."""
        ...

    def report(self) -> Report:
        """Return what the stream told so far: the last usage, never a sum."""
        ...


class Dialect(Protocol):
    """One wire protocol: how a request bounds its output, how a response tells usage.

    Attributes:
        name: Short name, recorded with each event, such as "openai.chat".
        paths: Route paths it is spoken on by default.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - described above

    @property
    def paths(self) -> tuple[str, ...]: ...  # noqa: D102 - described above

    def read_request(self, members: Members) -> RequestFacts | None:
        """Return the facts of a request; None if it names no model."""
        ...

    def estimate_input(self, members: Members) -> int:
        """Return about how many tokens the model reads, for want of a usage."""
        ...

    def ask_usage(self, members: Members) -> dict[str, bytes]:
        """Return the members to write so that a stream tells its usage.

        They keep what the client had put into them. Empty if nothing need be written.
        """
        ...

    def read_response(self, body: bytes) -> Report:
        """Return what a whole (not streamed) response body told."""
        ...

    def read_stream(self, *, take_out_usage: bool) -> StreamReader:
        """Return a reader for a streamed response.

        Args:
            take_out_usage: Whether usage was asked for by `ask_usage` alone, so that
                the client must not see it.
        """
        ...

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
        """Return a refusal as the dialect's clients expect it, as JSON.

        Args:
            status: The HTTP status.
            code: Why, such as "rate_limit_exceeded".
            message: The same in a sentence.
            unit: What the quota that refused counts.
            details: Further members, such as `limit` and `resets_at`.
            call_id: Which call is refused, for dialects whose errors say so.
        """
        ...
