"""The one script that decides: its text, what it is asked, and what it answers."""

from collections import deque
from collections.abc import Iterable
from hashlib import sha1
from importlib.resources import files
from typing import Any

import msgspec

from metering.backends.redis.operation import Operation
from metering.errors import StorageError

__all__ = [
    "OPERATIONS_MAX",
    "SCRIPT",
    "SCRIPT_SHA",
    "answers_of",
    "arguments_of",
    "scripts_of",
]

OPERATIONS_MAX = 128
"""Operations in one run of the script, which is to stay around a millisecond."""

_BATCH_MAX = 8 * OPERATIONS_MAX
_FILES = ("numbers", "cells", "holds", "read", "acquire", "settle", "batch")

SCRIPT: bytes = b"\n".join(
    files("metering.backends.redis").joinpath(f"{name}.lua").read_bytes()
    for name in _FILES
)
SCRIPT_SHA = sha1(SCRIPT, usedforsecurity=False).hexdigest()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


def scripts_of(queue: deque[Operation]) -> list[list[Operation]]:
    """Take operations off a queue, as runs of the script: full ones, each of one slot.

    At most 1,024 are taken at once.
    """
    scripts: list[list[Operation]] = []
    filling: dict[int, list[Operation]] = {}
    for _ in range(min(len(queue), _BATCH_MAX)):
        operation = queue.popleft()
        script = filling.get(operation.slot)
        if script is None or len(script) >= OPERATIONS_MAX:
            script = filling[operation.slot] = []
            scripts.append(script)
        script.append(operation)
    return scripts


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
