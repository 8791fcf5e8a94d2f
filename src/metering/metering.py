"""The composition root: a plan and a data home become services around an app."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from metering import __version__
from metering.accounts import Account
from metering.asgi.callers import caller_of
from metering.asgi.parts import Identify
from metering.asgi.refusal import Refusal
from metering.asgi.scraped import metrics_app
from metering.asgi.stack import Stack
from metering.asgi.subjects import Subject
from metering.asgi.tokenizer import CountTokens, Tokenizer
from metering.backends.limit_stores import limit_store, window_store
from metering.billing import Biller
from metering.carriers import refuse_silent
from metering.clock import Clock, system_clock
from metering.coldstart import ColdStart
from metering.composition import (
    LIMITS_DEFAULT,
    OwnParts,
    known_subjects,
    local_share_of,
    platform_of,
    registry_of,
    routes_of,
    settings_of,
    sql_ledger,
)
from metering.config import (
    Plan,
    plan_from_env,
    plan_from_file,
    plan_from_preset,
    with_environment,
)
from metering.console.past_days import PastDays
from metering.console.past_pools import PastPools
from metering.console.services import Services, checked_token
from metering.data_home import DataHome
from metering.dialects.dialect import Dialect
from metering.gauges import ReadQueue
from metering.historian import Historian
from metering.left_calls import LeftCalls
from metering.lifecycle import Lifecycle
from metering.limiter import Limiter
from metering.observing import Observer, Observers
from metering.recorder import Recorder
from metering.registry import Change
from metering.roster import Roster
from metering.stores import Ledger, Snapshots
from metering.tiers import TierResolver
from metering.upkeep import Upkeep
from metering.vitals import Vitals

__all__ = ["Metering", "MeteringMiddleware", "OwnParts"]

DATA_DEFAULT = ".metering"
STATE_EVERY_S = 10.0


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
            a function of the request, such as its IP address, or `FromBody("user")`.
        dialects: What the app speaks besides the dialects known here. Each is spoken on
            its own paths, and on those of the plan's routes that name it.
        cold: Warms models up that are not always warm; None: they are.
        gauges: By the name of an adaptive pool, a function that returns how many calls
            are queued in front of its models; beside the URLs in the plan.
        count_tokens: Counts the tokens of a text, given a model's name and the text,
            for calls that told no usage. Called in a thread. None: they are estimated.
        observers: Who is told of each call, such as `OpenTelemetry()`.

    Attributes:
        accounts: Creates accounts, issues keys, sets tiers.
        billing: Records payments, grants credit, closes periods, looks up usage.
        corrections: Takes charges back, prices past calls anew.
        ledger: Where all of that is kept. Its methods block: call them in a thread.
        left_calls: Settles what processes have left behind that were killed.
        plan: The plan.
        platform: What tiers get whose requests are adaptive, and why: `explain()`;
            None where no tier is.
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
        dialects: Sequence[Dialect] = (),
        cold: ColdStart | None = None,
        gauges: Mapping[str, ReadQueue] | None = None,
        count_tokens: CountTokens | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.plan = plan
        self.data = Path(plan.data or DATA_DEFAULT).absolute()
        self._clock = clock
        if ledger is not None:
            refuse_silent(ledger, plan.notices)
        self.ledger: Ledger = ledger or sql_ledger(plan, self.data)
        self._recorder = Recorder(
            self.data, self.ledger, clock=clock, sync_ms=plan.journal.sync_ms
        )
        self.limit_store = limit_store(
            plan.limits_store or LIMITS_DEFAULT, deadline_ms=plan.outage.deadline_ms
        )
        self._windows = window_store(plan.windows_store, plan.limits)
        self._resolver = TierResolver(
            self.ledger,
            plan.tiers,
            clock=clock,
            ttl_ns=plan.resolve_ttl_ns,
            pepper=plan.key_pepper,
            snapshots=snapshots,
        )
        biller = Biller(plan.prices, self.ledger, self._recorder.journal)
        names = [model.name for model in plan.prices.models]
        self._observers = Observers(observers, names)
        share = local_share_of(plan)
        self._limiter = Limiter(
            self.limit_store,
            clock=clock,
            lease_ns=plan.lease_ns,
            spent_of=biller.spent_p,
            share=share,
            windows=self._windows,
            observers=self._observers,
        )
        self.left_calls = LeftCalls(self._limiter, self.ledger, clock=clock)
        self.platform = platform_of(plan, clock, gauges or {})
        self._roster: Roster | None = None
        if self.platform is not None and self.limit_store.waits:
            self._roster = Roster(
                self.limit_store,
                clock=clock,
                tell=(self.platform.shared_by, share.shared_by),
            )
        change = Change(self._resolver, self.limit_store)
        registry = registry_of(plan, self.ledger, change, self._limiter, clock)
        self.accounts, self.billing, self.corrections = registry
        self._historian = Historian(
            self.ledger.history,
            clock=clock,
            models=names,
            look=None if self.platform is None else self.platform.look,
        )
        self._parts = replace(
            settings_of(plan),
            routes=routes_of(plan.routes, dialects),
            clock=clock,
            resolver=self._resolver,
            limiter=self._limiter,
            platform=self.platform,
            biller=biller,
            journal=self._recorder.journal,
            subjects=known_subjects(plan.limits, subjects or {}),
            identify=identify,
            tokenizer=None if count_tokens is None else Tokenizer(count_tokens),
            observers=self._observers,
            on_refused=self._historian.refused,
            ready=self.start,
        )
        self._cold = cold
        self._vitals = Vitals(
            self._limiter,
            self._recorder,
            clock=clock,
            outbox=self.ledger.outbox if plan.notices.notices.subscriptions else None,
            platform=self.platform,
            cold=cold,
        )
        self._life = Lifecycle(
            plan=plan,
            home=DataHome(self.data),
            clock=clock,
            ledger=self.ledger,
            limits=self.limit_store,
            windows=self._windows,
            limiter=self._limiter,
            recorder=self._recorder,
            left_calls=self.left_calls,
            historian=self._historian,
            observers=self._observers,
            platform=self.platform,
            roster=self._roster,
            chores=list(self._chores()),
        )
        self._metrics: ASGIApp | None = None

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

    async def current_account(self, request: HTTPConnection) -> Account:
        """Return whose request it is, on any path: a dependency for FastAPI.

        As in `account: Annotated[Account, Depends(meter.current_account)]`.

        Raises:
            HTTPException: The caller is not known (401) or suspended (403).
            StorageError: The ledger is down and nothing is remembered.
        """
        await self.start()
        caller = await caller_of(request.scope, self._parts, self._resolver)
        if isinstance(caller, Refusal):
            raise HTTPException(caller.status, caller.message)
        return caller.account

    async def start(self) -> None:
        """Start the background work, unless it runs: once before the first call.

        Raises:
            ConfigurationError: Another process uses the data home with limits in its
                own memory, or a price of the past was changed.
            StorageError: The ledger cannot be opened.
        """
        await self._life.start()

    async def stop(self) -> None:
        """Post what is journalled and close everything; what is left is not lost."""
        await self._life.stop()

    def metrics(self) -> ASGIApp:
        """Return an app to mount that shows Prometheus what this process does.

        As in `app.mount("/metrics", meter.metrics())`. Calls are counted from here on:
        ask for it before the first one. It lets everybody in.

        Raises:
            ConfigurationError: The package for it is not installed.
        """
        if self._metrics is None:
            self._metrics = metrics_app(self._observers, self._vitals.look)
        return self._metrics

    def console(self, *, operator_token: str | None = None) -> Starlette:
        """Return an app to mount that shows accounts what they use, may and owe.

        As in `app.mount("/console", meter.console())`: JSON for programs, and, where
        the extra `console` is installed, pages for people. Who signs in by an API key
        sees their own account; who does by the operator's token sees and changes all.

        Args:
            operator_token: What an operator signs in by, 32 characters or more; None:
                METERING_OPERATOR_TOKEN. Without either there is no operator.

        Raises:
            ConfigurationError: The token could be guessed.
        """
        from metering.console.app import console_app  # noqa: PLC0415 - few mount it

        if operator_token is None:
            operator_token = os.environ.get("METERING_OPERATOR_TOKEN")
        services = Services(
            accounts=self.accounts,
            billing=self.billing,
            corrections=self.corrections,
            ledger=self.ledger,
            days=PastDays(self.ledger, self._clock),
            pools=PastPools(self.ledger.history, self._clock),
            prices=self.plan.prices,
            resolver=self._resolver,
            rules=self.plan.limits,
            limits=self.limit_store,
            windows=self._windows,
            platform=self.platform,
            look=self._vitals.look,
            clock=self._clock,
            ready=self.start,
            operator_token=checked_token(operator_token),
        )
        return console_app(services, version=__version__)

    def _chores(self) -> Iterator[Upkeep]:
        yield Upkeep(
            {
                "expire_credit": self.billing.expire_credit,
                "forget_history": self._historian.forget,
            }
        )
        if self._observers.watches:
            yield Upkeep({"tell_state": self._tell_state}, every_s=STATE_EVERY_S)

    async def _tell_state(self) -> None:
        self._observers.state_seen(await self._vitals.look())


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
