"""What tests of services built on metering need, and of backends written for it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metering.testing.clock import ManualClock
    from metering.testing.contracts.ledger import (
        LedgerContract,
        LedgerReaderContract,
        LedgerWriterContract,
    )
    from metering.testing.contracts.limits import LimitStoreContract
    from metering.testing.contracts.notices import NoticesContract
    from metering.testing.model import FakeCall, FakeModel
    from metering.testing.plug import AdaptivePlug, adaptive_plug

__all__ = [
    "AdaptivePlug",
    "FakeCall",
    "FakeModel",
    "LedgerContract",
    "LedgerReaderContract",
    "LedgerWriterContract",
    "LimitStoreContract",
    "ManualClock",
    "NoticesContract",
    "adaptive_plug",
]

# Where each name lives. It is imported when it is first asked for: contracts need
# Hypothesis, and pytest imports this package at every start for the plugin's sake.
_HOMES = {
    "AdaptivePlug": "metering.testing.plug",
    "FakeCall": "metering.testing.model",
    "FakeModel": "metering.testing.model",
    "LedgerContract": "metering.testing.contracts.ledger",
    "LedgerReaderContract": "metering.testing.contracts.ledger",
    "LedgerWriterContract": "metering.testing.contracts.ledger",
    "LimitStoreContract": "metering.testing.contracts.limits",
    "ManualClock": "metering.testing.clock",
    "NoticesContract": "metering.testing.contracts.notices",
    "adaptive_plug": "metering.testing.plug",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}", name=name
        ) from None
    value = globals()[name] = getattr(import_module(home), name)
    return value
