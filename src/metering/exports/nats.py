"""Calls as CloudEvents on a subject of NATS JetStream, at least once each."""

import asyncio
from collections.abc import Sequence

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import Header
from nats.js.errors import NoStreamResponseError

from metering.clock import NS_PER_S
from metering.errors import without_credentials
from metering.exports.cloudevents import CONTENT_TYPE, cloud_event
from metering.outbox import Failure, Patience
from metering.stores import OutboxMessage

__all__ = ["NatsCarrier"]

PATIENCE = Patience(
    tries_max=None, first_ns=NS_PER_S, factor=2, longest_ns=30 * NS_PER_S
)
"""Usage is never given up: it waits for the server, whatever that takes."""

_CONNECT_S = 5
_ACKNOWLEDGE_S = 5.0


class NatsCarrier:
    """Publishes messages to JetStream and takes its acknowledgement for received.

    The stream must be there already: how much it keeps, and on how many servers, is
    the operator's to say. `Nats-Msg-Id` is the message's id, so that the stream itself
    drops what comes twice within its window.

    Args:
        name: The destination, as messages name it.
        url: The server, such as "nats://HOST:4222"; may hold a password.
        subject: Where to publish.
        source: What events name as where they come from.
    """

    batch_max = 256
    at_once = 1
    patience = PATIENCE

    def __init__(self, name: str, url: str, subject: str, *, source: str) -> None:
        self.name = name
        self._url = url
        self._subject = subject
        self._source = source
        self._client: Client | None = None

    async def send(self, messages: Sequence[OutboxMessage]) -> list[Failure | None]:
        """Publish messages side by side; see `Carrier.send`."""
        stream = (await self._connected()).jetstream(timeout=_ACKNOWLEDGE_S)
        return await asyncio.gather(
            *(self._publish(stream, message) for message in messages)
        )

    async def aclose(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            await self.aclose()
            # It would connect again by itself, and keep what it could not send: but
            # that the outbox does, and outlives this process.
            self._client = await nats.connect(
                self._url,
                allow_reconnect=False,
                connect_timeout=_CONNECT_S,
                error_cb=_pass_over,
            )
        return self._client

    async def _publish(
        self, stream: JetStreamContext, message: OutboxMessage
    ) -> Failure | None:
        headers = {Header.MSG_ID: message.id, "Content-Type": CONTENT_TYPE}
        try:
            await stream.publish(
                self._subject, cloud_event(message, self._source), headers=headers
            )
        except NoStreamResponseError:
            return Failure(
                f"no stream of the server takes the subject {self._subject!r}: add one"
            )
        except (NatsError, OSError) as error:
            told = without_credentials(str(error))
            return Failure(f"{type(error).__name__}: {told}")
        return None


async def _pass_over(_error: Exception) -> None:
    """Leave it to whoever publishes to find out, and to tell."""
