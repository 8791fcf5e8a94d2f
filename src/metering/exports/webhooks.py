"""Notices as Standard Webhooks: signed, to a URL that the operator has configured."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import httpx
import msgspec
from standardwebhooks import Webhook

from metering.clock import NS_PER_S, Clock, iso_utc
from metering.outbox import Failure, Patience
from metering.stores import OutboxMessage

__all__ = ["WebhookCarrier"]

PATIENCE = Patience(
    tries_max=10, first_ns=5 * NS_PER_S, factor=5, longest_ns=86_400 * NS_PER_S
)
"""After 5 s, 25 s, 2 min, 10 min, 52 min, 4 h, 22 h, a day and a day: three days."""

_ANSWER_S = 10.0
_ANSWER_BYTES_MAX = 65_536
_WAIT_MAX_S = 3600
_GONE = 410
_SECONDS = re.compile(r"[0-9]{1,5}")

_encode = msgspec.json.Encoder().encode


class WebhookCarrier:
    """Posts each message to one URL, and takes any 2xx for received.

    Redirects are not followed. An answer is awaited for 10 s. Whatever else is answered
    is tried again, but 410 Gone, which ends it.

    Args:
        name: The destination, as messages name it.
        url: Where to post, `http` or `https`.
        secrets: What messages are signed with, as `whsec_` and base64: one, or while
            rotating the new and the old one.
        clock: The node's clock; a signature tells when it was made.
        at_once: How many posts may run at the same time.
    """

    batch_max = 1
    patience = PATIENCE

    def __init__(
        self,
        name: str,
        url: str,
        secrets: Sequence[str],
        *,
        clock: Clock,
        at_once: int = 8,
    ) -> None:
        self.name = name
        self.at_once = at_once
        self._url = url
        self._signers = [Webhook(secret) for secret in secrets]
        self._clock = clock
        self._client: httpx.AsyncClient | None = None

    async def send(self, messages: Sequence[OutboxMessage]) -> list[Failure | None]:
        """Post messages, one after another; see `Carrier.send`."""
        return [await self._post(message) for message in messages]

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _post(self, message: OutboxMessage) -> Failure | None:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=_ANSWER_S,
                limits=httpx.Limits(max_connections=self.at_once),
                follow_redirects=False,
            )
        body = _body(message)
        headers = self._headers(message.id, body)
        try:
            async with self._client.stream(
                "POST", self._url, content=body, headers=headers
            ) as response:
                await _read_some(response)
                return _failure(response)
        except httpx.HTTPError as error:
            # Their texts may show the URL, which may hold a secret.
            return Failure(type(error).__name__)

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        at = datetime.fromtimestamp(self._clock() // NS_PER_S, tz=UTC)
        signed = (
            signer.sign(message_id, at, body.decode()) for signer in self._signers
        )
        return {
            "content-type": "application/json",
            "user-agent": "asgi-metering",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signed),
        }


def _body(message: OutboxMessage) -> bytes:
    return _encode(
        {
            "type": message.kind,
            "timestamp": iso_utc(message.created_ns),
            "data": msgspec.Raw(message.data),
        }
    )


async def _read_some(response: httpx.Response) -> None:
    """Read a short answer, so that its connection can be used again."""
    size = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > _ANSWER_BYTES_MAX:
            return


def _failure(response: httpx.Response) -> Failure | None:
    if response.is_success:
        return None
    wait = response.headers.get("retry-after", "")
    wait_s = int(wait) if _SECONDS.fullmatch(wait) else 0
    return Failure(
        f"HTTP {response.status_code}",
        wait_ns=min(wait_s, _WAIT_MAX_S) * NS_PER_S,
        gone=response.status_code == _GONE,
    )
