"""What a plan and a service's own parts come to, before anything is opened."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from metering.asgi.missing import MissingUsage
from metering.asgi.parts import Identify, Parts
from metering.asgi.subjects import Subject
from metering.asgi.tokenizer import CountTokens
from metering.backends.gauges import gauges_of
from metering.backends.memory import MemoryLimitStore
from metering.clock import Clock, system_clock
from metering.coldstart import ColdStart
from metering.config import Plan, agreed_overrides
from metering.dialects.dialect import Dialect
from metering.dialects.known import DIALECT_BY_PATH, DIALECTS
from metering.errors import ConfigurationError
from metering.gauges import ReadQueue
from metering.limit_rules import OWN_SUBJECTS, LimitRule
from metering.limiter import Limiter
from metering.local_share import LocalShare, OnOutage
from metering.observing import Observer
from metering.platform import Platform
from metering.registry import Accounts, Billing, Change, Corrections
from metering.stores import Ledger, Snapshots

__all__ = [
    "LIMITS_DEFAULT",
    "OwnParts",
    "known_subjects",
    "local_share_of",
    "platform_of",
    "registry_of",
    "routes_of",
    "settings_of",
    "sql_ledger",
]

LIMITS_DEFAULT = "memory://"


class OwnParts(TypedDict, total=False):
    """What a service may give of its own; each is explained at `Metering`."""

    clock: Clock
    ledger: Ledger | None
    snapshots: Snapshots | None
    identify: Identify | None
    subjects: Mapping[str, Subject]
    dialects: Sequence[Dialect]
    cold: ColdStart
    gauges: Mapping[str, ReadQueue] | None
    count_tokens: CountTokens | None
    observers: Sequence[Observer]


def settings_of(plan: Plan) -> Parts:
    """Return what the plan says of every call; services are added to it."""
    return Parts(
        limits=plan.limits,
        tiers=plan.tiers,
        anonymous=plan.anonymous,
        unpriced_refused=plan.unpriced == "refuse",
        unmetered_refused=plan.unmetered == "refuse",
        clamp=plan.clamp,
        missing_usage=MissingUsage(plan.missing_usage),
        drain_ns=plan.drain_ns if plan.on_client_gone == "drain" else 0,
        body_bytes_max=plan.body_bytes_max,
        durable=plan.journal.durability == "power",
        log_calls=plan.log_calls,
    )


def local_share_of(plan: Plan) -> LocalShare:
    """Return what a node grants by itself while a shared store is away."""
    outage, url = plan.outage, plan.limits_store or LIMITS_DEFAULT
    # A file is away while it is locked, for all workers of the host at once.
    usual: OnOutage = "refuse" if url.startswith("sqlite:") else "local_share"
    return LocalShare(
        MemoryLimitStore(),
        nodes=outage.nodes,
        rates=outage.rates or usual,
        money=outage.money,
    )


def routes_of(
    named: Mapping[str, str], own: Sequence[Dialect]
) -> dict[str, Dialect | None]:
    """Return the dialect of each path; None for one that is left alone.

    Args:
        named: Names of dialects by path, as the plan has them.
        own: What the app speaks besides the dialects known here.

    Raises:
        ConfigurationError: A name is taken, or there is none of that name.
    """
    by_name: dict[str, Dialect | None] = {dialect.name: dialect for dialect in DIALECTS}
    by_name["none"] = None
    routes: dict[str, Dialect | None] = dict(DIALECT_BY_PATH)
    for dialect in own:
        if dialect.name in by_name:
            raise ConfigurationError(
                f"There is a dialect {dialect.name!r} already, and events tell which"
                " one was spoken. Give this one another name."
            )
        by_name[dialect.name] = dialect
        routes |= dict.fromkeys(dialect.paths, dialect)
    for path, name in named.items():
        if name not in by_name:
            known = ", ".join(by_name)
            raise ConfigurationError(
                f"The route {path!r} names the dialect {name!r}; there are: {known}."
                " Name one of them, or give yours: Metering(..., dialects=[...])."
            )
        routes[path.rstrip("/")] = by_name[name]
    return routes


def known_subjects(
    limits: Sequence[LimitRule], subjects: Mapping[str, Subject]
) -> Mapping[str, Subject]:
    """Return the subjects if limits are per nothing else.

    Raises:
        ConfigurationError: A limit is per a subject that nobody gave.
    """
    for limit in limits:
        for name in limit.per:
            if name not in OWN_SUBJECTS and name not in subjects:
                known = ", ".join((*OWN_SUBJECTS, *subjects))
                raise ConfigurationError(
                    f"Limit {limit.name!r} is per {name!r}; there are: {known}. Give a"
                    f' function of a request: subjects={{"{name}": function}}.'
                )
    return subjects


def platform_of(
    plan: Plan, clock: Clock, gauges: Mapping[str, ReadQueue]
) -> Platform | None:
    """Return what tiers get whose requests are adaptive; None where no tier is."""
    if plan.adaptive is None:
        return None
    # Load is felt on a clock that never steps; one that is given is obeyed.
    steady = time.monotonic_ns if clock is system_clock else clock
    known = gauges_of(plan.adaptive.gauges) | dict(gauges)
    return Platform(plan.adaptive, clock=steady, gauges=known)


def sql_ledger(plan: Plan, data: Path) -> Ledger:
    """Return the ledger that the plan names; else an SQLite file in the data home."""
    # SQLAlchemy takes longer to import than all else: whoever uses single pieces, or
    # asks for help on the command line, does not wait for it.
    from metering.backends.sql import SqlLedger  # noqa: PLC0415 - see above

    return SqlLedger(
        plan.ledger or f"sqlite:///{data / 'ledger.db'}",
        tiers=plan.tiers,
        notices=plan.notices.notices,
    )


def registry_of(
    plan: Plan, ledger: Ledger, change: Change, limiter: Limiter, clock: Clock
) -> tuple[Accounts, Billing, Corrections]:
    """Return what changes accounts, their money, and what they were charged."""
    accounts = Accounts(
        ledger,
        change,
        clock=clock,
        prices=plan.prices,
        read_agreement=agreed_overrides,
        sign_up_credit_p=plan.sign_up_credit_p,
        time_zone=plan.time_zone,
        anchor_day=plan.anchor_day,
        pepper=plan.key_pepper,
    )
    billing = Billing(
        ledger,
        change,
        limiter,
        clock=clock,
        prices=plan.prices,
        settle_ns=plan.settle_ns,
    )
    return accounts, billing, Corrections(ledger, change, limiter, clock=clock)
