"""Counts tokens with the operator's own tokenizer, for calls that told no usage."""

from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
from anyio import to_thread

from metering.asgi.context import Call
from metering.dialects.dialect import Report
from metering.dialects.figures import COUNT_MAX, UNREADABLE
from metering.dialects.texts import Text, text_read
from metering.errors import UsageError
from metering.log import Log

__all__ = ["CountTokens", "Tokenizer"]

CountTokens = Callable[[str, str], int]
"""Returns how many tokens a text is, given a model's name in the price list."""

DEADLINE_S: Final = 1.0
"""Longest that the end of a call waits for its tokens to be counted."""

RUNNING_MAX = 2
STUCK_MAX = 2  # beside them: those that nobody waits for any more

_log = Log()


class Tokenizer:
    """Runs the operator's function in threads, and does without it where it fails.

    Two run at once; calls that end meanwhile wait for them, as long as the deadline
    lets them. A function that never returns costs two more threads and no call.

    Args:
        count_tokens: The function. It is given text, which it must not keep.
        deadline_s: Longest wait.
    """

    def __init__(
        self, count_tokens: CountTokens, *, deadline_s: float = DEADLINE_S
    ) -> None:
        self._count_tokens = count_tokens
        self._deadline_s = deadline_s
        self._threads = anyio.CapacityLimiter(RUNNING_MAX)
        self._running: set[Call] = set()
        self._failing = False

    async def recount(
        self, call: Call, report: Report, written: Callable[[], Text | None]
    ) -> Report:
        """Return *report* with its output counted, and correct the call's input.

        Both stay estimates where that fails.

        Args:
            call: The call, whose usage nobody told.
            report: What its response told.
            written: Returns the text of the response, or None where there is none.
                Called in the thread.
        """
        try:
            with anyio.fail_after(self._deadline_s):
                counts = await to_thread.run_sync(
                    self._counts,
                    call,
                    written,
                    abandon_on_cancel=True,
                    limiter=self._threads,
                )
        except Exception as error:  # noqa: BLE001 - whatever a stranger's function raises
            self._tell_failed(error)
            return report
        if self._failing:
            self._failing = False
            _log.info("tokenizer_recovered")
        read, wrote = counts
        if read is not None:
            call.input_tokens_estimate = read
        return report if wrote is None else report._replace(counted_tokens=wrote)

    def _counts(
        self, call: Call, written: Callable[[], Text | None]
    ) -> tuple[int | None, int | None]:
        if len(self._running) >= RUNNING_MAX + STUCK_MAX:
            raise UsageError("All threads for it are stuck in it.")
        self._running.add(call)
        try:
            model = _model_of(call)
            read = self._counted(model, partial(_text_read, call))
            return read, self._counted(model, written)
        finally:
            self._running.discard(call)

    def _counted(self, model: str, find: Callable[[], Text | None]) -> int | None:
        """Count a text; None where there is none that can be read."""
        try:
            text = find()
        except UNREADABLE:
            return None
        if text is None or not text.words:
            return None
        tokens = self._count_tokens(model, text.words)
        if type(tokens) is not int or not 0 <= tokens <= COUNT_MAX:
            raise UsageError(
                f"It returned {tokens!r}: no whole number from 0 to 2**53."
            )
        return tokens + text.more_tokens

    def _tell_failed(self, error: Exception) -> None:
        # Not its message, which may quote the text.
        if not self._failing:
            self._failing = True
            _log.error("tokenizer_failed", error=type(error).__name__)


def _model_of(call: Call) -> str:
    if call.quote is not None and call.quote.model is not None:
        return call.quote.model.name
    return "" if call.facts is None else call.facts.model


def _text_read(call: Call) -> Text | None:
    if call.members is None:
        return None
    return text_read(call.members, call.estimate_input_tokens())
