"""Past calls under another plan: the store of limits and the prices decide anew."""

from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

import msgspec

from metering.accounts import Account
from metering.backends.memory import MemoryLimitStore
from metering.billing import Biller, Quote
from metering.cli.exported import Exported
from metering.config import Plan
from metering.ledger import CreditState, period_of
from metering.limit_rules import OWN_SUBJECTS, demands_of, units_used
from metering.quota import Demand
from metering.resolved import Resolved, resolved
from metering.usage import Usage

__all__ = ["Replay", "Tally", "left_out"]

_ENDLESS_NS = 2**62
_UNPRICED = "unpriced"


class Tally(msgspec.Struct):
    """What became of an account's calls.

    Attributes:
        tier: The tier in which they were judged.
        calls: How many there were.
        refused: How many would be refused, by the quota or the reason.
        cut: How many would have had a shorter output.
        before_p: What they cost, in pico-dollars.
        refused_before_p: What of that the refused ones cost.
        after_p: What they would cost.
    """

    tier: str
    calls: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    cut: int = 0
    before_p: int = 0
    refused_before_p: int = 0
    after_p: int = 0


class Replay:
    """Judges calls one after the other, each at the instant at which it began.

    Holds and limits are those of a service: a call holds its worst case until it has
    ended. What an export does not tell is taken as follows: each account begins with
    the sign-up credit and nothing spent, stays in its tier, and each call has one
    output. Windows are not replayed, nor limits per subjects of an app.

    Args:
        plan: The plan to try.
        place: The account of a call, which decides its tier.
    """

    def __init__(self, plan: Plan, place: Callable[[Exported], Account]) -> None:
        self._plan = plan
        self._place = place
        self._store = MemoryLimitStore()
        # Help and completion have no use for SQLAlchemy, which takes a while to import.
        from metering.backends.sql import SqlLedger  # noqa: PLC0415

        # Its ledger is there for budgets, which begin at 0 here, and never opened.
        ledger = SqlLedger("sqlite://", tiers=plan.tiers)
        self._biller = Biller(plan.prices, ledger, None)
        self._limits = [rule for rule in plan.limits if rule.window is None]
        self._callers: dict[str, Resolved] = {}
        self._running: list[tuple[int, int, list[Demand], list[int]]] = []
        self._number = 0
        self.tallies: dict[str, Tally] = {}

    async def add(self, call: Exported, before_p: int) -> None:
        """Judge the next call; none may have begun before the one before it."""
        await self._end_calls(call.admitted_ns)
        caller = self._caller(call)
        tally = self.tallies.setdefault(call.account_id, Tally(caller.tier.name))
        tally.calls += 1
        tally.before_p += before_p
        cap = caller.output_tokens_max
        model = self._plan.prices.model(call.model)
        if model is not None and model.reasoning:
            cap = caller.reasoning_output_tokens_max
        used = _cut(call.usage, cap)
        quote = self._biller.quote(call.model, caller, call.admitted_ns)
        reason, charge_p = await self._judge(call, caller, quote, used, cap)
        if reason:
            tally.refused[reason] += 1
            tally.refused_before_p += before_p
            return
        tally.cut += used != call.usage
        tally.after_p += charge_p

    def _caller(self, call: Exported) -> Resolved:
        caller = self._callers.get(call.account_id)
        if caller is None:
            caller = self._callers[call.account_id] = resolved(
                self._place(call),
                CreditState(ceiling_p=self._plan.sign_up_credit_p),
                self._plan.tiers,
                now_ns=call.admitted_ns,
                good_until_ns=_ENDLESS_NS,
            )
        return caller

    async def _judge(
        self, call: Exported, caller: Resolved, quote: Quote, used: Usage, cap: int
    ) -> tuple[str, int]:
        """Return why the call is refused, or "" and what it costs."""
        price = quote.price
        if price is None and self._plan.unpriced == "refuse":
            return _UNPRICED, 0
        output_max = min(call.output_tokens_max or cap, cap)
        demands = [
            *caller.requests.get(quote.model_class, ()),
            *self._beside(call, caller, quote, used, output_max),
        ]
        charge_p = 0
        if price is not None and price.kind != "free":
            charge_p = price.charge_p(used)
            hold_p = price.worst_case_p(
                input_tokens=used.input_total,
                output_tokens=max(output_max, used.output_total),
                compute_ms=max(
                    used.compute_ms, (quote.model and quote.model.compute_ms_max) or 0
                ),
                audio_ms=used.audio_ms,
                images=used.images,
            )
            period = period_of(caller.account, call.admitted_ns)
            demands += Biller.demands(caller, period, quote, hold_p)
        refused_by = await self._admit(call, demands, charge_p, used)
        return refused_by, charge_p

    def _beside(
        self,
        call: Exported,
        caller: Resolved,
        quote: Quote,
        used: Usage,
        output_max: int,
    ) -> list[Demand]:
        model = call.model if quote.model is None else quote.model.name
        subjects = {
            "account": call.account_id,
            "key": call.key_id or None,
            "model": model,
            "everyone": "",
        }
        return [
            demand
            for rule in self._limits
            if rule.covers(caller.tier.level, model)
            for demand in demands_of(
                rule,
                subjects,
                input_tokens=used.input_total,
                output_tokens=output_max,
            )
        ]

    async def _admit(
        self, call: Exported, demands: list[Demand], charge_p: int, used: Usage
    ) -> str:
        """Return the name of the quota that refuses the call, or ""."""
        if not demands:
            return ""
        self._number += 1
        while True:
            outcome = await self._store.acquire(
                demands,
                hold_id=str(self._number),
                lease_ns=_ENDLESS_NS,
                now_ns=call.admitted_ns,
            )
            if outcome.status != "unseeded":
                break
            for key in outcome.unseeded:
                await self._store.seed(key, 0, now_ns=call.admitted_ns)
        if outcome.status == "refused":
            return demands[outcome.binding].name
        granted = [
            msgspec.structs.replace(demand, cost=verdict.granted)
            for demand, verdict in zip(demands, outcome.verdicts, strict=True)
        ]
        costs = [_cost(demand, charge_p, used) for demand in granted]
        heappush(self._running, (call.ended_ns, self._number, granted, costs))
        return ""

    async def _end_calls(self, now_ns: int) -> None:
        while self._running and self._running[0][0] <= now_ns:
            ended_ns, number, demands, costs = heappop(self._running)
            await self._store.settle(str(number), demands, costs, now_ns=ended_ns)


def left_out(plan: Plan) -> Iterator[str]:
    """Yield what a plan says and a replay leaves out, in words."""
    names = [tier.name for tier in plan.tiers.tiers if tier.adaptive]
    if names:
        yield (
            f"Requests of {', '.join(names)} that are adaptive: how much the platform"
            " could have spared then is not known, so they are all let through."
        )
    for rule in plan.limits:
        if rule.window is not None:
            yield f"Limit {rule.name}: its window refuses nothing here."
        elif not set(rule.per) <= set(OWN_SUBJECTS):
            yield f"Limit {rule.name}: only the app knows its {', '.join(rule.per)}."


def _cost(demand: Demand, charge_p: int, used: Usage) -> int:
    if demand.unit == "pico_usd":
        return charge_p
    return demand.cost if demand.unit == "requests" else units_used(demand.unit, used)


def _cut(usage: Usage, cap: int) -> Usage:
    """Return what would have been used with at most *cap* tokens of output."""
    over = usage.output_total - cap
    if over <= 0:
        return usage
    answer = max(0, usage.output_tokens - over)
    return msgspec.structs.replace(
        usage, output_tokens=answer, reasoning_tokens=cap - answer
    )
