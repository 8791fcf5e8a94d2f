"""From the alerts, webhooks and streams of a plan file to who is told of what."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from metering.config.document import Document
from metering.config.schema import AlertTable, StreamTable, WebhookTable
from metering.errors import ConfigurationError
from metering.ledger import (
    NOTICE_KINDS,
    THRESHOLDS,
    USAGE_RECORDED,
    NoticeKind,
    Notices,
    Subscription,
)

__all__ = ["NoticeSettings", "StreamSettings", "WebhookSettings", "notice_settings"]

_SECRET_PREFIX = "whsec_"  # noqa: S105 - what each secret begins with, and no secret
_SECRET_BYTES = range(24, 65)
_SECRETS_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """A URL that notices are posted to.

    Attributes:
        url: The URL.
        secrets: What they are signed with: one, or the new and the old one; none where
            the environment has them and was not read yet.
        secret_env: Which variable of the environment has them, or None.
        kinds: What is told.
    """

    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    secret_env: str | None = None
    kinds: tuple[NoticeKind, ...]

    @property
    def destination(self) -> str:
        """Its name in the outbox and in logs, as the URL itself may hold a secret."""
        digest = hashlib.sha256(self.url.encode()).hexdigest()
        return f"webhook:{urlsplit(self.url).hostname}:{digest[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """Where each call goes as an event.

    Attributes:
        nats: URL of a NATS server with JetStream; None: nowhere.
        subject: What is published to.
        source: What events name as where they come from.
    """

    nats: str | None = field(default=None, repr=False)
    subject: str = "metering.usage"
    source: str = "metering"

    @property
    def destination(self) -> str:
        """Its name in the outbox and in logs."""
        return f"nats:{self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSettings:
    """Who is told of what.

    Attributes:
        thresholds: Per cent of an allowance at which accounts are alerted.
        webhooks: URLs that notices are posted to.
        stream: Where each call goes as an event.
    """

    thresholds: tuple[int, ...] = THRESHOLDS
    webhooks: tuple[WebhookSettings, ...] = ()
    stream: StreamSettings = StreamSettings()

    @property
    def notices(self) -> Notices:
        """What the ledger needs to know of it."""
        told = [Subscription(each.destination, each.kinds) for each in self.webhooks]
        if self.stream.nats is not None:
            told.append(Subscription(self.stream.destination, (USAGE_RECORDED,)))
        return Notices(thresholds=self.thresholds, subscriptions=tuple(told))

    def with_environment(self, environ: Mapping[str, str]) -> "NoticeSettings":
        """Return the same with the secrets of the environment.

        Args:
            environ: `METERING_NATS` replaces `stream.nats`; the variables that webhooks
                name hold their secrets.

        Raises:
            ConfigurationError: A secret cannot be used; it is not shown.
        """
        webhooks = (
            replace(each, secrets=_secrets(environ[each.secret_env], each.secret_env))
            if each.secret_env and environ.get(each.secret_env)
            else each
            for each in self.webhooks
        )
        nats = environ.get("METERING_NATS") or self.stream.nats
        return replace(
            self, webhooks=tuple(webhooks), stream=replace(self.stream, nats=nats)
        )


def notice_settings(
    alerts: AlertTable,
    webhooks: tuple[WebhookTable, ...],
    events: StreamTable,
    document: Document,
) -> NoticeSettings:
    """Return who is told of what.

    Raises:
        ConfigurationError: Names the first webhook that cannot be, without its secret.
    """
    return NoticeSettings(
        thresholds=tuple(sorted(set(alerts.thresholds))),
        webhooks=tuple(
            _webhook(table, f"webhooks[{at}]", document)
            for at, table in enumerate(webhooks)
        ),
        stream=StreamSettings(
            nats=events.nats, subject=events.subject, source=events.source
        ),
    )


def _webhook(table: WebhookTable, path: str, document: Document) -> WebhookSettings:
    if (table.secret is None) == (table.secret_env is None):
        raise document.fault(path, "Give it one of secret and secret_env.")
    if not urlsplit(table.url).hostname:
        raise document.fault(f"{path}.url", "It names no host.")
    secrets: tuple[str, ...] = ()
    if table.secret is not None:
        with document.at(path):
            secrets = _secrets(table.secret, "secret")
    asked = table.events or NOTICE_KINDS
    return WebhookSettings(
        url=table.url,
        secrets=secrets,
        secret_env=table.secret_env,
        kinds=tuple(k for k in asked if table.events or k != USAGE_RECORDED),
    )


def _secrets(written: str, name: str) -> tuple[str, ...]:
    secrets = tuple(written.split())
    if not 1 <= len(secrets) <= _SECRETS_MAX or not all(map(_is_secret, secrets)):
        raise ConfigurationError(
            f"{name} is no secret of Standard Webhooks: write {_SECRET_PREFIX} and"
            f" {_SECRET_BYTES[0]} to {_SECRET_BYTES[-1]} random bytes in base64; while"
            " you change it, the new one, a space and the old one."
        )
    return secrets


def _is_secret(text: str) -> bool:
    if not text.startswith(_SECRET_PREFIX):
        return False
    try:
        secret = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        return False
    return len(secret) in _SECRET_BYTES
