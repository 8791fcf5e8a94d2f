"""What an Anthropic answer tells of its cost, as a whole body or event by event.

The cache's two counts lie beside `input_tokens`, thinking inside `output_tokens`. In a
stream each usage may name some of them only, and each count is a total so far. What
tools found that ran beside the model is in the input already; how often they ran
(`server_tool_use`) is no count of tokens.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from metering.dialects.dialect import Report
from metering.dialects.figures import (
    NOT_AN_OBJECT,
    NULL,
    UNREADABLE,
    count_of,
    members_of,
    value_of,
)
from metering.errors import UsageError
from metering.usage import Usage

__all__ = ["Answer", "Tally", "has_failed", "read_answer", "report_of"]

_READ: Final = "input_tokens"
_FROM_CACHE: Final = "cache_read_input_tokens"
_TO_CACHE: Final = "cache_creation_input_tokens"
_INPUT = (_READ, _FROM_CACHE, _TO_CACHE)
_OUTPUT: Final = "output_tokens"
_THINKING: Final = "thinking_tokens"

_ITERATIONS: Final = "iterations"
# The totals are sums of all other iterations. A tuple: a type may be anything.
_BESIDE_TOTALS = ("advisor_message", "compaction")


class _Message(msgspec.Struct, frozen=True, gc=False):
    usage: msgspec.Raw = NULL


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The members of a response, or of one event of it, that tell something."""

    type: msgspec.Raw = NULL
    message: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    content: msgspec.Raw = NULL

    def told_usage(self) -> msgspec.Raw:
        """Return the usage, which the first event of a stream has within `message`."""
        if self.message == NULL:
            return self.usage
        try:
            return _messages.decode(self.message).usage
        except UNREADABLE:
            return NULL


_answers = msgspec.json.Decoder(Answer)
_messages = msgspec.json.Decoder(_Message)


def read_answer(body: bytes) -> Answer | None:
    """Return what *body* says, or None if it is no JSON object."""
    try:
        return _answers.decode(body)
    except UNREADABLE:
        return None


def has_failed(answer: Answer) -> bool:
    """Whether *answer* is an error in place of a message."""
    return answer.error != NULL or bytes(answer.type) == b'"error"'


class Tally:
    """The counts that a response told so far; of each the last."""

    __slots__ = ("_beside", "_counts", "_refused")

    def __init__(self) -> None:
        self._beside: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._refused: dict[str, str] = {}

    def add(self, raw: msgspec.Raw) -> int | None:
        """Take a usage. What it does not name, or calls null, stays as it was.

        Returns:
            Tokens written so far, thinking included; None where it told none.
        """
        figures = value_of(raw)
        if figures is None:
            return None
        if not isinstance(figures, dict):
            self._refused[""] = NOT_AN_OBJECT
            return None
        self._refused.pop("", None)
        self._take(members_of(figures, "output_tokens_details"), _THINKING)
        self._take_iterations(figures)
        for name in _INPUT:
            self._take(figures, name)
        return self._take(figures, _OUTPUT)

    def _take(self, figures: Mapping[str, Any], name: str) -> int | None:
        try:
            count = count_of(figures, name)
        except UsageError as error:
            self._refused[name] = str(error)
            return None
        if count is not None:
            self._counts[name] = count
            self._refused.pop(name, None)
        return count

    def _take_iterations(self, figures: Mapping[str, Any]) -> None:
        """Take what was read and written for the answer, but not to write it."""
        iterations = figures.get(_ITERATIONS)
        if not isinstance(iterations, list):
            return
        beside: dict[str, int] = dict.fromkeys((*_INPUT, _OUTPUT), 0)
        try:
            for each in iterations:
                if isinstance(each, dict) and each.get("type") in _BESIDE_TOTALS:
                    for name in beside:
                        beside[name] += count_of(each, name) or 0
        except UsageError as error:
            self._refused[_ITERATIONS] = f"In iterations, {error}"
            return
        self._beside = beside
        self._refused.pop(_ITERATIONS, None)

    def report(self, output_tokens_min: int = 0, *, partial: bool = False) -> Report:
        """Return what was told.

        Args:
            output_tokens_min: What was written at least, as it was counted.
            partial: Whether more was counted than was told.
        """
        for reason in self._refused.values():
            return Report(refused=reason)
        counts, beside = self._counts, self._beside
        if _READ not in counts or _OUTPUT not in counts:
            return Report()
        written = max(counts[_OUTPUT], output_tokens_min)
        thought = min(counts.get(_THINKING, 0), written)
        usage = Usage(
            input_tokens=counts[_READ] + beside.get(_READ, 0),
            cache_read_tokens=counts.get(_FROM_CACHE, 0) + beside.get(_FROM_CACHE, 0),
            cache_write_tokens=counts.get(_TO_CACHE, 0) + beside.get(_TO_CACHE, 0),
            output_tokens=written - thought + beside.get(_OUTPUT, 0),
            reasoning_tokens=thought,
        )
        return Report(usage, partial=partial)


def report_of(answer: Answer) -> Report:
    """Return what a whole response tells."""
    tally = Tally()
    tally.add(answer.usage)
    return tally.report()._replace(failed=has_failed(answer))
