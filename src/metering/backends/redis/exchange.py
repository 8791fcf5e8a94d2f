"""One exchange with a server: scripts out in one write, their answers in."""

from collections.abc import Callable

from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from metering.backends.redis.operation import Operation
from metering.backends.redis.script import (
    SCRIPT,
    SCRIPT_SHA,
    answers_of,
    arguments_of,
)
from metering.backends.redis.wire import Connection, packed_of

__all__ = ["exchange"]

Scripts = list[list[Operation]]
Refused = Callable[[ResponseError, list[Operation]], None]


async def exchange(
    connection: Connection, scripts: Scripts, *, grace_ms: int, refused: Refused
) -> None:
    """Run scripts and give their operations the answers.

    Those that the server does not know any more are sent again, whole.

    Args:
        connection: To the server.
        scripts: Operations, by the run of the script that they are in.
        grace_ms: How much longer than needed instants are kept.
        refused: Told of runs that were answered by an error and changed nothing.

    Raises:
        RedisError: The connection cannot be used any more, and nobody knows what
            became of what was sent and is not answered; or `OSError`.
    """
    for script in scripts:  # the connection may have taken long
        script[:] = [op for op in script if op.sent or not op.over]
    scripts = [script for script in scripts if script]
    unknown = await _round(connection, scripts, grace_ms, refused, whole=False)
    if unknown:
        await _round(connection, unknown, grace_ms, refused, whole=True)


async def _round(
    connection: Connection,
    scripts: Scripts,
    grace_ms: int,
    refused: Refused,
    *,
    whole: bool,
) -> Scripts:
    packed: list[bytes] = []
    for operations in scripts:
        name = ("EVAL", SCRIPT) if whole else ("EVALSHA", SCRIPT_SHA)
        packed.append(packed_of(*name, *arguments_of(operations, grace_ms)))
        for operation in operations:
            operation.sent = True
        whole = False  # the first one loads it for the others
    await connection.send_packed_command(packed, check_health=False)
    unknown: Scripts = []
    for operations in scripts:
        try:
            reply = await connection.read_response(disable_decoding=True)
        except NoScriptError:
            unknown.append(operations)
        except ReadOnlyError as error:
            # It is no master any more; the next connection may lead to another one.
            for operation in operations:
                operation.sent = False
            raise ConnectionError(str(error)) from error
        except ResponseError as error:
            refused(error, operations)
        else:
            answers = answers_of(reply, len(operations))
            for operation, answer in zip(operations, answers, strict=True):
                operation.answer(answer)
    return unknown
