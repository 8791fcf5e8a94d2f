"""The one script that decides: its text, what it is asked, and what it answers."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha1
from importlib.resources import files
from math import inf
from typing import Any

import msgspec

from metering.errors import StorageError

__all__ = [
    "OPERATIONS_MAX",
    "SCRIPT",
    "SCRIPT_SHA",
    "Operation",
    "answers_of",
    "arguments_of",
]

OPERATIONS_MAX = 128
"""Operations in one run of the script, which is to stay around a millisecond."""

_FILES = ("numbers", "cells", "holds", "read", "acquire", "settle", "batch")

SCRIPT: bytes = b"\n".join(
    files("metering.backends.redis").joinpath(f"{name}.lua").read_bytes()
    for name in _FILES
)
SCRIPT_SHA = sha1(SCRIPT, usedforsecurity=False).hexdigest()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


class Operation:
    """One thing to do in one slot, and who waits for its answer.

    Args:
        kind: Name of the operation in the script.
        keys: All keys it touches, by place.
        members: What else it is told.
        now_us: The present instant; -1 for the server's clock.
        repeatable: Whether it may run twice and count once, so that it is sent again
            if the connection was lost under it.
        insistent: Whether it must arrive though nobody may wait for it any more.

    Attributes:
        slot: Where its keys are in a cluster.
        future: Takes the answer; None if nobody waits for it.
        due_s: When whoever waits will wait no longer, on the clock of the event loop.
        sent: Whether the server may have seen it.
        undo: Makes what must be sent if this was sent and nobody took its answer.
        tries: How often it was sent again.
    """

    __slots__ = (
        "due_s",
        "future",
        "insistent",
        "keys",
        "kind",
        "members",
        "now_us",
        "repeatable",
        "sent",
        "slot",
        "tries",
        "undo",
    )

    def __init__(
        self,
        kind: str,
        keys: list[str],
        members: Sequence[Any] = (),
        *,
        now_us: int = -1,
        repeatable: bool = True,
        insistent: bool = False,
    ) -> None:
        self.kind = kind
        self.keys = keys
        self.members = members
        self.now_us = now_us
        self.repeatable = repeatable
        self.insistent = insistent
        self.slot = 0
        self.future: asyncio.Future[Any] | None = None
        self.due_s = inf
        self.sent = False
        self.undo: Callable[[], list[Operation]] | None = None
        self.tries = 0

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for its answer."""
        return self.future is not None and not self.future.done()

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for it and it need not arrive."""
        future = self.future
        return future is not None and future.done() and not self.insistent

    def answer(self, answer: Any) -> None:
        """Give the answer, or an error in its place, to whoever still waits."""
        future = self.future
        if future is None or future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def arguments_of(
    operations: Iterable[Operation], grace_ms: int
) -> list[str | bytes | int]:
    """Return what follows the script's name in a call that runs these operations."""
    keys: list[str] = []
    packed: list[Any] = []
    for operation in operations:
        members = operation.members
        packed.append((len(keys), operation.now_us, operation.kind, *members))
        keys += operation.keys
    return [len(keys), *keys, _encode(packed), grace_ms]


def answers_of(reply: bytes, count: int) -> list[Any]:
    """Return the answers to *count* operations, in order; errors as such.

    Raises:
        ConnectionError: That is no answer of the script.
    """
    try:
        answers = _decode(reply)
    except (msgspec.MsgspecError, TypeError):
        answers = []
    if len(answers) != count:
        raise ConnectionError(f"That was no answer to {count} operations.")
    return [
        StorageError(f"Redis could not do it and changed nothing: {answer[1]}.")
        if type(answer) is list and answer and answer[0] == "error"
        else answer
        for answer in answers
    ]
