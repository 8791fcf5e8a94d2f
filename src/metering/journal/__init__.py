"""The journal: the local commit point of every charge."""

from metering.journal.journal import Journal, JournalFaults
from metering.journal.replay import Adoption, adopt_orphans

__all__ = ["Adoption", "Journal", "JournalFaults", "adopt_orphans"]
