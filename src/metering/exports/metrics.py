"""Every metric that is exported: kind, name, labels, and what it tells.

Labels are bounded: the tiers and models of the plan, codes, endings, names of quotas
and pools. No account, key or text of a client is one.
"""

from typing import Literal, NamedTuple

__all__ = ["METRICS", "Row"]


class Row(NamedTuple):
    """One metric.

    Attributes:
        kind: What Prometheus calls its type.
        name: Its name; that of a counter's samples has "_total" added.
        labels: Names of its labels.
        tells: What it tells.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    labels: tuple[str, ...]
    tells: str


_PRICED = ("tier", "model")

CALLS = Row(
    "counter", "metering_calls", (*_PRICED, "ending"), "Calls that ended, by how."
)
REFUSALS = Row(
    "counter",
    "metering_refusals",
    (*_PRICED, "code", "quota"),
    "Calls that were refused, by why.",
)
TOKENS = Row(
    "counter",
    "metering_tokens",
    (*_PRICED, "kind"),
    "Tokens of calls that ended; no token is of two kinds.",
)
COMPUTE = Row("counter", "metering_compute_seconds", _PRICED, "Seconds of computing.")
AUDIO = Row("counter", "metering_audio_seconds", _PRICED, "Seconds of audio heard.")
IMAGES = Row("counter", "metering_images", _PRICED, "Images made.")
CHARGES = Row(
    "counter",
    "metering_charges_microusd",
    _PRICED,
    "Charges: of each call the whole millionths of a dollar.",
)
REST = Row(
    "counter",
    "metering_charges_rest_picousd",
    _PRICED,
    "Charges: of each call what is left of them, in 1e-12 dollars.",
)
FLAGS = Row(
    "counter",
    "metering_flagged_calls",
    ("model", "flag"),
    "Calls that ended, by what their records are flagged with.",
)
DURATION = Row(
    "histogram",
    "metering_call_duration_seconds",
    ("model",),
    "From the arrival of a call to its end.",
)
LIMITS = Row(
    "histogram",
    "metering_limits_duration_seconds",
    ("outcome",),
    "How long a store of limits that processes share took to answer, or failed to.",
)
HOLDS = Row("gauge", "metering_holds_open", (), "Running calls that hold something.")
OWED = Row(
    "gauge",
    "metering_settlements_owed",
    (),
    "Calls that ended, and a shared store of limits does not know of yet.",
)
AWAY = Row(
    "gauge", "metering_limits_away", ("store",), "1 while the store does not answer."
)
UNPOSTED = Row(
    "gauge", "metering_journal_unposted", (), "Calls that ended and are not posted."
)
LAG = Row(
    "gauge", "metering_journal_lag_seconds", (), "How old the oldest of these is."
)
BACKLOG = Row(
    "gauge",
    "metering_journal_backlog",
    (),
    "Calls that ended and wait in memory for the journal's disk.",
)
LOST = Row(
    "counter",
    "metering_journal_lost_calls",
    (),
    "Calls that ended and found no room to wait for it.",
)
FULL = Row(
    "gauge", "metering_journal_full", (), "1 while calls are refused as journal_full."
)
POSTING = Row(
    "gauge", "metering_posting_fails", (), "1 while the ledger takes no charges."
)
OUTBOX = Row(
    "gauge",
    "metering_outbox_messages",
    ("destination",),
    "Messages that wait to be sent, of all processes.",
)
LIMIT = Row(
    "gauge",
    "metering_adaptive_limit_rpm",
    ("pool",),
    "Requests a minute of each account of class 0, as its headers tell.",
)
POOL = Row(
    "gauge", "metering_adaptive_state", ("pool", "state"), "1 for the pool's state."
)
WAITING = Row(
    "gauge", "metering_adaptive_waiting", ("pool",), "Calls in its waiting rooms."
)
MODELS = Row(
    "gauge", "metering_models", ("status",), "Models that calls lately asked for."
)

METRICS = (
    *(CALLS, REFUSALS, TOKENS, COMPUTE, AUDIO, IMAGES, CHARGES, REST, FLAGS, DURATION),
    *(LIMITS, HOLDS, OWED, AWAY),
    *(UNPOSTED, LAG, BACKLOG, LOST, FULL, POSTING, OUTBOX),
    *(LIMIT, POOL, WAITING, MODELS),
)
"""All of them, in the order of the reference."""
