"""The journal: the local commit point of every charge."""

from metering.journal.journal import Journal, JournalFaults
from metering.journal.replay import Adoption, adopt_orphans
from metering.journal.set_aside import RefusedEvent, SetAside

__all__ = [
    "Adoption",
    "Journal",
    "JournalFaults",
    "RefusedEvent",
    "SetAside",
    "adopt_orphans",
]
