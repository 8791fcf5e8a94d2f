"""The composition root: a plan and a data home become services around an app."""

import fcntl
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

import anyio
import structlog
from anyio import to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from metering.asgi.parts import Identify, Parts, Subject
from metering.asgi.stack import Stack
from metering.backends.limit_stores import limit_store, window_store
from metering.backends.memory import MemoryLimitStore
from metering.backends.sql import SqlLedger
from metering.billing import Biller
from metering.clock import Clock, system_clock
from metering.coldstart import ColdStart
from metering.config import (
    Plan,
    agreed_overrides,
    plan_from_env,
    plan_from_file,
    plan_from_preset,
    with_environment,
)
from metering.dialects.dialect import Dialect
from metering.dialects.known import DIALECT_BY_PATH, DIALECTS
from metering.errors import ConfigurationError
from metering.journal import Journal, RefusedEvent, SetAside, adopt_orphans
from metering.limit_rules import OWN_SUBJECTS, LimitRule
from metering.limiter import Limiter
from metering.local_share import LocalShare
from metering.money import format_usd
from metering.registry import Accounts, Billing, Change
from metering.shipper import ShipFault, Shipper
from metering.stores import Ledger, Snapshots
from metering.tiers import TierResolver

__all__ = ["Metering", "MeteringMiddleware", "OwnParts"]

DATA_DEFAULT = ".metering"
LIMITS_DEFAULT = "memory://"
STOP_S = 10.0
SETTLE_S = 2.0

_log = structlog.get_logger("metering")


class OwnParts(TypedDict, total=False):
    """What a service may give of its own; each is explained at `Metering`."""

    clock: Clock
    ledger: Ledger | None
    snapshots: Snapshots | None
    identify: Identify | None
    subjects: Mapping[str, Subject]
    cold: ColdStart


class Metering:
    """Tiers, limits, caps, metering and billing, to be wrapped around an app.

    Nothing is opened until the first use: it may be made before a server forks.

    Args:
        plan: What the operator decided.
        clock: The node's clock.
        ledger: Where accounts and charges are; None: the plan's, else SQLite in the
            data home.
        snapshots: A cache of resolved keys that processes share, or None.
        identify: Says whose a request is, for apps that know; None: by API key.
        subjects: Of whom the plan's limits are besides account, key and model: by name
            a function of the request, such as its IP address.
        cold: Warms models up that are not always warm; None: they are.

    Attributes:
        accounts: Creates accounts, issues keys, sets tiers.
        billing: Records payments, grants credit, looks up usage and charges.
        plan: The plan.
        data: The data home: journal, and ledger unless the plan names another.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Clock = system_clock,
        ledger: Ledger | None = None,
        snapshots: Snapshots | None = None,
        identify: Identify | None = None,
        subjects: Mapping[str, Subject] | None = None,
        cold: ColdStart | None = None,
    ) -> None:
        self.plan = plan
        self.data = Path(plan.data or DATA_DEFAULT).absolute()
        self._clock = clock
        self._ledger: Ledger = ledger or SqlLedger(
            plan.ledger or f"sqlite:///{self.data / 'ledger.db'}", tiers=plan.tiers
        )
        self._journal = Journal(self.data, clock=clock, sync_ms=plan.journal.sync_ms)
        self._post = SetAside(
            self.data, self._ledger.post, on_refused=_tell_refused
        ).post
        self._shipper = Shipper(self._journal, self._post, on_fault=_tell_shipping)
        store = limit_store(
            plan.limits_store or LIMITS_DEFAULT, deadline_ms=plan.outage.deadline_ms
        )
        self._windows = window_store(plan.windows_store, plan.limits)
        resolver = TierResolver(
            self._ledger,
            plan.tiers,
            clock=clock,
            ttl_ns=plan.resolve_ttl_ns,
            pepper=plan.key_pepper,
            snapshots=snapshots,
        )
        biller = Biller(plan.prices, self._ledger, self._journal)
        outage = plan.outage
        self._limiter = limiter = Limiter(
            store,
            clock=clock,
            lease_ns=plan.lease_ns,
            spent_of=biller.spent_p,
            share=LocalShare(
                MemoryLimitStore,
                nodes=outage.nodes,
                rates=outage.rates,
                money=outage.money,
            ),
            windows=self._windows,
        )
        change = Change(resolver, store)
        self.accounts = Accounts(
            self._ledger,
            change,
            clock=clock,
            prices=plan.prices,
            read_agreement=agreed_overrides,
            sign_up_credit_p=plan.sign_up_credit_p,
            pepper=plan.key_pepper,
        )
        self.billing = Billing(self._ledger, change, limiter, clock=clock)
        self.limit_store = store
        self._parts = Parts(
            clock=clock,
            routes=_routes(plan.routes),
            resolver=resolver,
            limiter=limiter,
            biller=biller,
            journal=self._journal,
            limits=plan.limits,
            subjects=_known_subjects(plan.limits, subjects or {}),
            tiers=plan.tiers,
            identify=identify,
            anonymous=plan.anonymous,
            unpriced_refused=plan.unpriced == "refuse",
            unmetered_refused=plan.unmetered == "refuse",
            body_bytes_max=plan.body_bytes_max,
            durable=plan.journal.durability == "power",
            log_calls=plan.log_calls,
            ready=self.start,
        )
        self._cold = cold
        self._started = False
        self._starting = anyio.Lock()
        self._lock_fd = -1

    @classmethod
    def from_preset(cls, name: str, **own: Unpack[OwnParts]) -> "Metering":
        """Return the metering of a plan that ships with the library."""
        plan = with_environment(plan_from_preset(name), os.environ)
        return cls(plan, **own)

    @classmethod
    def from_file(cls, path: str | Path, **own: Unpack[OwnParts]) -> "Metering":
        """Return the metering of a plan in a TOML file.

        Raises:
            ConfigurationError: Names the field, its value and what is allowed.
        """
        plan = with_environment(plan_from_file(path), os.environ)
        return cls(plan, **own)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **own: Unpack[OwnParts]
    ) -> "Metering":
        """Return the metering of the plan that METERING_CONFIG names."""
        return cls(plan_from_env(os.environ if environ is None else environ), **own)

    def wrap(self, app: ASGIApp) -> Stack:
        """Return *app* with all five pieces around it.

        As `app.add_middleware(meter.wrap)` it must be added last: what is added last
        is outermost.
        """
        return Stack(
            app, self._parts, start=self.start, stop=self.stop, cold=self._cold
        )

    async def start(self) -> None:
        """Start the background work, unless it runs: once before the first call.

        Raises:
            ConfigurationError: Another process uses the data home with limits in its
                own memory, or a price of the past was changed.
            StorageError: The ledger cannot be opened.
        """
        if self._started:
            return
        async with self._starting:
            if not self._started:
                await to_thread.run_sync(self._open)
                self._started = True

    async def stop(self) -> None:
        """Post what is journalled and close everything; what is left is not lost."""
        if self._started:
            self._started = False
            await self._limiter.close(SETTLE_S)
            await to_thread.run_sync(self._close)
        await self.limit_store.aclose()
        if self._windows is not None:
            await self._windows.aclose()

    def _open(self) -> None:
        shared = self.limit_store.waits
        shared = shared and (self._windows is None or self._windows.shared)
        self._lock_fd = _lock_home(self.data, alone=not shared)
        try:
            publish = partial(self._ledger.publish, now_ns=self._clock())
            publish(self.plan.prices.versions())
            adopted = adopt_orphans(self.data, self._post)
        except BaseException:
            os.close(self._lock_fd)
            raise
        if adopted.owners:
            _log.info(
                "journal_adopted",
                owners=adopted.owners,
                closed=adopted.closed,
                recovered=adopted.recovered,
                damaged=adopted.damaged,
            )
        self._shipper.start()

    def _close(self) -> None:
        if not self._shipper.stop(STOP_S):
            _log.warning("journal_not_posted", data=str(self.data))
        self._journal.close()
        self._ledger.close()
        os.close(self._lock_fd)


class MeteringMiddleware:
    """A whole stack from the environment, for servers that load a class by its name.

    As in `vllm serve MODEL --middleware metering.MeteringMiddleware`. METERING_CONFIG
    names the plan: a file, or "preset:friendli".
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = Metering.from_env().wrap(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on to the stack."""
        await self.app(scope, receive, send)


def _routes(named: Mapping[str, str]) -> dict[str, Dialect | None]:
    by_name: dict[str, Dialect | None] = {dialect.name: dialect for dialect in DIALECTS}
    by_name["none"] = None
    routes: dict[str, Dialect | None] = dict(DIALECT_BY_PATH)
    for path, name in named.items():
        if name not in by_name:
            known = ", ".join(by_name)
            raise ConfigurationError(
                f"Route {path!r} names the dialect {name!r}; there are: {known}."
            )
        routes[path.rstrip("/")] = by_name[name]
    return routes


def _known_subjects(
    limits: Sequence[LimitRule], subjects: Mapping[str, Subject]
) -> Mapping[str, Subject]:
    for limit in limits:
        for name in limit.per:
            if name not in OWN_SUBJECTS and name not in subjects:
                known = ", ".join((*OWN_SUBJECTS, *subjects))
                raise ConfigurationError(
                    f"Limit {limit.name!r} is per {name!r}; there are: {known}. Give a"
                    f' function of a request: subjects={{"{name}": function}}.'
                )
    return subjects


def _lock_home(data: Path, *, alone: bool) -> int:
    """Make the data home and lock it: alone, or with others that share their limits."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        fd = os.open(data / "process.lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The data home {data} cannot be used: {error.strerror}. Name a folder on"
            " a local disk that can be made and written, by METERING_DATA or"
            " [storage] data."
        ) from error
    try:
        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise ConfigurationError(
            f"Another Metering uses the data home {data}, and limits kept in memory"
            " cannot be shared: each would grant them anew. Have one process, give each"
            " its own METERING_DATA, or keep the limits where all find them:"
            ' [storage] limits = "sqlite:///limits.db" or "redis://HOST", and windows,'
            ' if limits have any, such as "redis://HOST".'
        ) from None
    return fd


_SHIPPING_TOLD: dict[ShipFault, str] = {
    "down": "ledger_down",
    "failing": "posting_failing",
    "up": "ledger_up",
    "conflict": "journal_conflict",
    "damaged": "journal_damaged",
    "disk_failing": "journal_disk_failing",
    "disk_up": "journal_disk_up",
    "lost": "journal_calls_lost",
}


def _tell_shipping(kind: ShipFault, error: Exception | None) -> None:
    if error is None:
        _log.info(_SHIPPING_TOLD[kind])
    else:
        _log.error(_SHIPPING_TOLD[kind], error=str(error), kind=type(error).__name__)


def _tell_refused(refused: RefusedEvent, kept: bool) -> None:  # noqa: FBT001 - a callback
    event = refused.event
    _log.error(
        "event_set_aside",
        id=event.id,
        account=event.account_id,
        period=event.period,
        charge_usd=format_usd(event.charge_p),
        reason=refused.reason,
        kept=kept,
    )
