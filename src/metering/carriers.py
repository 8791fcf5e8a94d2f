"""What sends the notices of a ledger: a carrier for each destination of its plan."""

from importlib import import_module

from metering.clock import Clock
from metering.config import NoticeSettings
from metering.errors import ConfigurationError
from metering.outbox import Carrier, Sender
from metering.stores import Ledger

__all__ = ["refuse_silent", "sender_of"]


def refuse_silent(ledger: Ledger, settings: NoticeSettings) -> None:
    """Refuse a ledger that does not tell what a plan says is told.

    Raises:
        ConfigurationError: It tells nobody, or others.
    """
    told = settings.notices
    if told.subscriptions and ledger.notices != told:
        raise ConfigurationError(
            "The plan has webhooks or events, and the ledger that was given tells of"
            " nothing, or of something else. Make it with SqlLedger(...,"
            " notices=plan.notices.notices)."
        )


def sender_of(ledger: Ledger, settings: NoticeSettings, clock: Clock) -> Sender:
    """Return what sends from a ledger's outbox, to be started.

    Raises:
        ConfigurationError: A webhook has no secret, or a package is not installed.
    """
    return Sender(ledger.outbox, _carriers(settings, clock), clock=clock)


def _carriers(settings: NoticeSettings, clock: Clock) -> list[Carrier]:
    found: list[Carrier] = []
    for webhook in settings.webhooks:
        if not webhook.secrets:
            raise ConfigurationError(
                f"{webhook.destination} has no secret: the environment variable"
                f" {webhook.secret_env} is not set. Set it to what the receiver"
                " verifies signatures with."
            )
        carrier = _carrier("webhooks", "WebhookCarrier")
        found.append(
            carrier(webhook.destination, webhook.url, webhook.secrets, clock=clock)
        )
    stream = settings.stream
    if stream.nats is not None:
        carrier = _carrier("nats", "NatsCarrier")
        found.append(
            carrier(
                stream.destination, stream.nats, stream.subject, source=stream.source
            )
        )
    return found


def _carrier(extra: str, name: str) -> type:
    """Return a class whose packages only some plans need."""
    try:
        module = import_module(f"metering.exports.{extra}")
    except ImportError as error:
        raise ConfigurationError(
            f"The plan needs a package that is not installed ({error.name}):"
            f' pip install "asgi-metering[{extra}]".'
        ) from error
    found: type = getattr(module, name)
    return found
