"""The journal: the local commit point of every charge."""

from metering.journal.journal import Journal, JournalFaults
from metering.journal.replay import Adoption, adopt_orphans
from metering.journal.second_try import SecondTry, post_set_aside, set_aside_events
from metering.journal.set_aside import RefusedEvent, SetAside
from metering.journal.survey import JournalSurvey, survey_journals

__all__ = [
    "Adoption",
    "Journal",
    "JournalFaults",
    "JournalSurvey",
    "RefusedEvent",
    "SecondTry",
    "SetAside",
    "adopt_orphans",
    "post_set_aside",
    "set_aside_events",
    "survey_journals",
]
