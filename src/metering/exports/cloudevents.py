"""Messages of the outbox as CloudEvents 1.0, in their JSON format."""

import msgspec

from metering.clock import iso_utc
from metering.stores import OutboxMessage

__all__ = ["CONTENT_TYPE", "cloud_event"]

CONTENT_TYPE = "application/cloudevents+json"

_encode = msgspec.json.Encoder().encode


def cloud_event(message: OutboxMessage, source: str) -> bytes:
    """Return a message as an event; its id is the message's, for a call the call's.

    Args:
        message: What happened; its account is the subject of the event.
        source: A URI reference that names this service, such as "/metering".
    """
    return _encode(
        {
            "specversion": "1.0",
            "id": message.id,
            "source": source,
            "type": f"metering.{message.kind}",
            "subject": message.account_id,
            "time": iso_utc(message.created_ns),
            "datacontenttype": "application/json",
            "data": msgspec.Raw(message.data),
        }
    )
