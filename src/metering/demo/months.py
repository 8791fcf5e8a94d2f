"""Months of a small service, written through its own stores, for pages to show.

Customers sign up, call, are refused, pay and are billed on a clock that is moved. Their
calls are posted as a recorder posts them, so that ledger, invoices and alerts agree.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from anyio import to_thread

from metering.clock import NS_PER_S
from metering.config import Plan, plan_from_preset
from metering.demo.pools import pool_minutes
from metering.ids import uuid7
from metering.ledger import period_of
from metering.metering import Metering
from metering.money import format_usd
from metering.stores import RefusalMinute, RefusalPlace
from metering.stores.history import MINUTE_NS
from metering.testing.clock import ManualClock
from metering.usage import Usage, UsageEvent

__all__ = ["CUSTOMERS", "NOW", "NOW_NS", "Customer", "live_through"]

NOW = datetime(2026, 6, 18, 15, 42, tzinfo=UTC)
NOW_NS = round(NOW.timestamp()) * NS_PER_S
"""When the months are over, unless somebody says otherwise."""

_DAYS = 150
_BATCH = 1000
_WEEK_END = (5, 6)
_BILLED_ON = 3
"""Day of the month by which the one before may be closed."""

_CUT_SHORT = 0.02
"""Which part of the calls ends because its client leaves."""

_AT_NIGHT, _BY_DAY = (1, 1, 1, 1, 1, 2), (4, 7, 11, 13, 13, 11, 10, 12, 13, 12, 10, 7)
_HOUR_WEIGHTS = (*_AT_NIGHT, *_BY_DAY, 5, 4, 3, 3, 2, 1)
_GLM, _GLM_BY_TIME = "zai-org/GLM-4.7", "zai-org/GLM-4.6"
_QWEN, _LLAMA = (
    "Qwen/Qwen3-235B-A22B-Instruct-2507",
    "meta-llama/Llama-3.3-70B-Instruct",
)
_SMALL, _MINIMAX = "meta-llama/Llama-3.1-8B-Instruct", "MiniMaxAI/MiniMax-M2.1"
_FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"

_CODING = {_GLM: 5, _GLM_BY_TIME: 2, _MINIMAX: 3, _FREE: 1}
_WRITING = {_LLAMA: 4, _QWEN: 3, _SMALL: 2}
_SORTING = {_SMALL: 8, _QWEN: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """An account, and how it lives.

    Attributes:
        name: Its id.
        calls: How many it makes on a usual working day.
        models: Which models it asks, by weight.
        bought: Dollars of credit that it buys at the beginning; "": none.
        pays: Whether it has a payment method, and pays its invoices.
        after: Days until it signs up.
        time_zone: At whose midnights its months begin.
        suspended: Whether its calls are refused by now.
        limit: Dollars a month that were agreed with it; "": its tier's.
    """

    name: str
    calls: float
    models: Mapping[str, int] = field(default_factory=lambda: _CODING)
    bought: str = ""
    pays: bool = True
    after: int = 0
    time_zone: str = "UTC"
    suspended: bool = False
    limit: str = ""


CUSTOMERS = (
    Customer(
        name="northwind", calls=90, bought="60", limit="60", time_zone="Europe/Berlin"
    ),
    Customer(name="atlas-robotics", calls=60, bought="500"),
    Customer(name="blue-harbor", calls=40, models=_WRITING, bought="50", after=20),
    Customer(name="cedar-health", calls=25, models=_WRITING),
    Customer(name="ember-games", calls=30, after=45),
    Customer(name="fable-books", calls=150, models=_WRITING, after=135, limit="18"),
    Customer(
        name="granite-legal", calls=20, bought="100", time_zone="America/New_York"
    ),
    Customer(name="iris-vision", calls=18, models=_SORTING, pays=False, after=130),
    Customer(name="juniper-bank", calls=35, bought="5000"),
    Customer(name="kestrel-air", calls=25, models=_SORTING, after=60),
    Customer(name="lumen-search", calls=45, models=_SORTING, bought="50"),
    Customer(name="moss-garden", calls=6, models=_WRITING, after=75, suspended=True),
    Customer(name="olive-studio", calls=5, pays=False, after=140),
)
"""Who is served; the first is the one to look at."""


async def live_through(
    data: Path,
    plan: Plan | None = None,
    *,
    until: datetime = NOW,
    part: float = 1.0,
    days_of_pools: int = 7,
) -> dict[str, str]:
    """Fill a data home with five months of calls.

    Args:
        data: The data home; nothing is in it yet.
        plan: Tiers and prices; None: the preset "friendli".
        until: When they end.
        part: Which part of the calls is made, above 0 and at most 1.
        days_of_pools: How many days of adaptive limits there are, to 7; 0: none, and
            no refusals.

    Returns:
        A key of each account, by its name.
    """
    plan = plan_from_preset("friendli") if plan is None else plan
    began = until.replace(hour=0, minute=0) - timedelta(days=_DAYS)
    clock = ManualClock(_ns(began))
    meter = Metering(replace(plan, data=str(data)), clock=clock)
    await meter.start()
    try:
        return await _Story(meter, clock, began, until, part).told(days_of_pools)
    finally:
        await meter.stop()


class _Story:
    def __init__(
        self,
        meter: Metering,
        clock: ManualClock,
        began: datetime,
        until: datetime,
        part: float,
    ) -> None:
        self._meter = meter
        self._clock = clock
        self._began = began
        self._until = until
        self._part = part
        self._random = Random(2026)  # noqa: S311 - the same months each time, no secret
        self._keys: dict[str, str] = {}
        self._key_ids: dict[str, str] = {}

    async def told(self, days_of_pools: int) -> dict[str, str]:
        """Tell day after day, and return the keys."""
        day = self._began
        while day <= self._until:
            self._clock.move_to(_ns(day))
            for customer in CUSTOMERS:
                if (day - self._began).days == customer.after:
                    await self._sign_up(customer)
            await self._post(day)
            if day.day == _BILLED_ON:
                await self._bill()
            day += timedelta(days=1)
        self._clock.move_to(_ns(self._until))
        for customer in CUSTOMERS:
            if customer.suspended:
                await self._meter.accounts.suspend(customer.name)
        if days_of_pools:
            await to_thread.run_sync(self._look_back, days_of_pools)
        return self._keys

    async def _sign_up(self, customer: Customer) -> None:
        accounts, name = self._meter.accounts, customer.name
        await accounts.create(name, time_zone=customer.time_zone)
        self._keys[name] = await accounts.issue_key(name)
        (key,) = await to_thread.run_sync(self._meter.ledger.keys, name)
        self._key_ids[name] = key.id
        await accounts.issue_key(name, usage_limit="25")
        if customer.pays:
            await accounts.set_payment_method(name, on_file=True)
        if customer.bought:
            await self._pay(name, customer.bought, f"pi_{name}", "credit_purchase")
        if customer.limit:
            await accounts.override(name, usage_limit=customer.limit)

    async def _pay(self, name: str, usd: str, reference: str, kind: str) -> None:
        refers_to = reference.removeprefix("pi_") if kind == "invoice" else None
        await self._meter.billing.record_payment(
            name,
            usd=usd,
            reference=reference,
            kind="invoice" if kind == "invoice" else "credit_purchase",
            refers_to=refers_to,
        )

    async def _bill(self) -> None:
        """Close the months that are over; who pays has paid a moment later."""
        invoices = [invoice async for invoice in self._meter.billing.close_all()]
        paying = {customer.name for customer in CUSTOMERS if customer.pays}
        for invoice in invoices:
            self._clock.advance(seconds=60)
            if invoice.account_id in paying and not invoice.paid:
                usd = format_usd(invoice.total_p)
                await self._pay(invoice.account_id, usd, f"pi_{invoice.id}", "invoice")

    async def _post(self, day: datetime) -> None:
        events = [
            event
            for customer in CUSTOMERS
            if (day - self._began).days >= customer.after
            for event in await self._day_of(customer, day)
        ]
        events.sort(key=lambda event: event.ended_ns)
        for first in range(0, len(events), _BATCH):
            batch = events[first : first + _BATCH]
            await to_thread.run_sync(self._meter.ledger.post, batch)

    async def _day_of(self, customer: Customer, day: datetime) -> list[UsageEvent]:
        """Return what an account calls on a day: more and more, less at week-ends."""
        account = await self._meter.accounts.get(customer.name)
        tier = self._meter.accounts.tier_of(account)
        mood = self._random.uniform(0.75, 1.25) * (
            0.3 if day.weekday() in _WEEK_END else 1
        )
        growth = 0.6 + (day - self._began).days / 200
        calls = customer.calls * mood * growth * self._part
        events = []
        for at_ns, model in self._moments(customer, day, calls):
            priced = self._meter.plan.prices.model(model)
            price = None if priced is None else priced.at(at_ns)
            if price is None:
                continue  # it was free for a while, and has no price since
            usage = self._usage()
            events.append(
                UsageEvent(
                    id=uuid7(at_ns),
                    account_id=customer.name,
                    key_id=self._key_ids[customer.name],
                    tier=tier.level,
                    model=model,
                    dialect="openai.chat",
                    price_version=price.id,
                    period=period_of(account, at_ns).key,
                    funding=tier.funding,
                    admitted_ns=at_ns,
                    ended_ns=at_ns + usage.compute_ms * 1_000_000,
                    ending="client_gone"
                    if self._random.random() < _CUT_SHORT
                    else "completed",
                    status=200,
                    usage=usage,
                    usage_source="upstream",
                    time_source="vllm" if price.kind == "time" else "",
                    charge_p=price.charge_p(usage),
                    output_tokens_max=tier.output_tokens_max or 0,
                )
            )
        return events

    def _moments(
        self, customer: Customer, day: datetime, calls: float
    ) -> Iterator[tuple[int, str]]:
        """Yield when, and which model; at least one call on most days."""
        names, weights = list(customer.models), list(customer.models.values())
        number = int(calls) + (self._random.random() < calls % 1)
        for hour in self._random.choices(range(24), _HOUR_WEIGHTS, k=number):
            at_ns = _ns(day) + round((hour + self._random.random()) * 3600 * NS_PER_S)
            (model,) = self._random.choices(names, weights)
            if at_ns < _ns(self._until) - 60 * NS_PER_S:
                yield at_ns, model

    def _usage(self) -> Usage:
        read = min(90_000, round(self._random.lognormvariate(9.3, 0.9)))
        cached = round(read * self._random.choice((0, 0, 0.5, 0.8)))
        written = min(8_000, round(self._random.lognormvariate(6.4, 0.7)))
        return Usage(
            input_tokens=read - cached,
            cache_read_tokens=cached,
            output_tokens=written,
            compute_ms=1_200 + written * 22 + self._random.randrange(800),
        )

    def _look_back(self, days_of_pools: int) -> None:
        until_ns = _ns(self._until)
        found = _refusals(self._random, until_ns)
        refusals = sorted(found, key=lambda each: each.place)
        self._meter.ledger.history.note(refusals, ())
        minutes = pool_minutes(until_ns, {_GLM: 9.0, _QWEN: 14.0}, days=days_of_pools)
        for first in range(0, len(minutes), _BATCH):
            batch = minutes[first : first + _BATCH]
            self._meter.ledger.history.note((), batch)


_WHY: tuple[tuple[str, str, str, str, int, int], ...] = (
    ("northwind", _GLM, "rate_limit_exceeded", "requests", 429, 14),
    ("northwind", _FREE, "model_not_priced", "", 404, 3),
    ("northwind", _GLM, "rate_limit_exceeded", "requests", 429, 6),
    ("northwind", "", "invalid_json", "", 400, 1),
    ("cedar-health", _LLAMA, "usage_limit_reached", "", 402, 22),
    ("olive-studio", _GLM, "platform_busy", "adaptive", 429, 9),
    ("iris-vision", _SMALL, "platform_busy", "adaptive", 429, 5),
    ("moss-garden", _QWEN, "account_suspended", "", 403, 2),
    ("", "", "invalid_api_key", "", 401, 4),
)


def _refusals(random: Random, until_ns: int) -> Iterator[RefusalMinute]:
    """Yield what was refused in the last hour, and now and then before."""
    now = until_ns // MINUTE_NS * MINUTE_NS
    for number, (account, model, code, quota, status, calls) in enumerate(_WHY):
        for ago in (3 + 5 * number, 60 * 26 + 7 * number, 60 * 75 + 11 * number):
            minute_ns = now - ago * MINUTE_NS
            last_ns = minute_ns + random.randrange(20, 59) * NS_PER_S
            yield RefusalMinute(
                place=RefusalPlace(minute_ns, account, model, code, quota, 1),
                status=status,
                calls=calls,
                first_ns=minute_ns + random.randrange(1, 19) * NS_PER_S,
                last_ns=last_ns,
            )


def _ns(at: datetime) -> int:
    return round(at.timestamp()) * NS_PER_S
