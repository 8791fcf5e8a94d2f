"""What is left of an account's limits: requests, the plan's rules, and money."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec.structs import replace

from metering.accounts import ModelClass
from metering.adaptive import REQUEST_COST, Explanation, PlatformState
from metering.adaptive.law import Cause
from metering.billing import Biller, Quote
from metering.clock import NS_PER_S
from metering.console.api.asked import OwnedQuery
from metering.console.api.fields import Usd
from metering.console.lane import in_thread
from metering.console.services import Services, Viewer
from metering.errors import StorageError
from metering.ledger import Period, PeriodState, period_of
from metering.limit_rules import LimitRule, LimitUnit, demands_of
from metering.money import format_usd
from metering.quota import UNKNOWN, BudgetQuota, Demand, RateQuota, Verdict, Window
from metering.resolved import Resolved, resolved

__all__ = [
    "BudgetRow",
    "LimitRow",
    "LimitsShown",
    "PoolRow",
    "RuleRow",
    "caller_of",
    "limits",
]

_NO_MODEL = Quote(None, None)


class LimitRow(msgspec.Struct, frozen=True, kw_only=True):
    """A request limit just now; what is not known is null, and not enforced either."""

    models: Annotated[ModelClass, msgspec.Meta(description="Of which models.")]
    name: str
    amount: Annotated[int, msgspec.Meta(description="Requests in each period.")]
    per_s: float
    burst: Annotated[int, msgspec.Meta(description="Requests at once at most.")]
    used: int | None
    remaining: int | None
    whole_after_s: Annotated[
        float, msgspec.Meta(description="Seconds until nothing counts as used.")
    ]


class PoolRow(msgspec.Struct, frozen=True, kw_only=True):
    """An adaptive limit: what the platform can spare for each account just now."""

    pool: str
    models: list[ModelClass]
    state: PlatformState
    cause: Annotated[Cause, msgspec.Meta(description="What set the limit.")]
    limit_rpm: Annotated[
        float, msgspec.Meta(description="Requests a minute of each account.")
    ]
    previous_rpm: float
    used: int | None
    remaining: int | None


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of the plan beside those of tiers; null where what is left is unknown."""

    name: str
    counts: LimitUnit
    per: Annotated[
        list[str],
        msgspec.Meta(description="Whose: account, key, model, everyone, or an app's."),
    ]
    models: (
        Annotated[list[str], msgspec.Meta(description="For these alone; null: all.")]
        | None
    )
    model: (
        Annotated[str, msgspec.Meta(description="Whose row it is, where per model.")]
        | None
    )
    window: Window | None
    shadow: Annotated[bool, msgspec.Meta(description="Whether it is only tried out.")]
    amount: int
    per_s: (
        Annotated[float, msgspec.Meta(description="In how long; null: at once.")] | None
    )
    burst: int
    used: int | None
    remaining: int | None
    whole_after_s: float | None


class BudgetRow(msgspec.Struct, frozen=True, kw_only=True):
    """An allowance of money that calls are held to, as the store of limits has it."""

    of: Annotated[
        Literal["period", "credit", "key"],
        msgspec.Meta(
            description="The account's limit of its period, its credit where that is"
            " all it may spend, or the limit of the key that asks."
        ),
    ]
    limit_usd: Usd
    spent_usd: Annotated[Usd, msgspec.Meta(description="As it is posted.")]
    held_usd: (
        Annotated[
            Usd,
            msgspec.Meta(description="By calls that run, or are not posted yet."),
        ]
        | None
    )
    left_usd: (
        Annotated[Usd, msgspec.Meta(description="What the next call may cost.")] | None
    )


class LimitsShown(msgspec.Struct, frozen=True, kw_only=True):
    """All limits of an account."""

    requests: list[LimitRow]
    adaptive: list[PoolRow]
    rules: list[RuleRow]
    money: list[BudgetRow]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is read of an account before the stores of limits are asked."""

    caller: Resolved
    period: Period
    state: PeriodState
    key_spent_p: int


async def limits(services: Services, viewer: Viewer, query: OwnedQuery) -> LimitsShown:
    """All limits: what is used and left of each, and what set the adaptive ones."""
    account_id = viewer.sees(query.account)
    asked = await in_thread(_read, services, account_id, viewer.key_id)
    caller = asked.caller
    requests: list[tuple[ModelClass, Demand]] = [
        (kind, demand)
        for kind, demands in caller.requests.items()
        for demand in demands
        if kind not in caller.adaptive
    ]
    platform, adaptive = services.platform, sorted(caller.adaptive)
    pools: dict[str, Demand] = {}
    if platform is not None and adaptive:
        pools = platform.demands(account_id)
    rules = list(_rules(services, caller))
    money = _budgets(asked)
    left = await _left(
        services,
        [
            *(demand for _, demand in requests),
            *pools.values(),
            *(demand for _, _, demand in rules if demand.key),
            *money,
        ],
    )
    now = {} if platform is None else platform.explain()
    return LimitsShown(
        requests=[_limit_row(kind, one, left[one.key]) for kind, one in requests],
        adaptive=[
            _pool_row(name, adaptive, now[name], one, left[one.key])
            for name, one in pools.items()
        ],
        rules=[
            _rule_row(rule, model, one, left.get(one.key)) for rule, model, one in rules
        ],
        money=[_budget_row(asked, one, left[one.key]) for one in money],
    )


def caller_of(services: Services, account_id: str, key_id: str = "") -> Resolved:
    """Return an account and what it may, read anew. Blocks: call it in a thread.

    Args:
        services: What the API stands on.
        account_id: Which account.
        key_id: Which of its keys asks; "": none.
    """
    ledger, now_ns = services.ledger, services.clock()
    return resolved(
        ledger.get(account_id),
        ledger.credit(account_id, now_ns=now_ns),
        ledger.tiers,
        now_ns=now_ns,
        good_until_ns=now_ns,
        key=ledger.listing.key(key_id) if key_id else None,
    )


def _read(services: Services, account_id: str, key_id: str) -> _Asked:
    ledger, caller = services.ledger, caller_of(services, account_id, key_id)
    period = period_of(caller.account, services.clock())
    spent_p = 0
    if caller.key_limit_p is not None:
        spent_p = ledger.key_spent_p(key_id, period.key)
    state = ledger.period(account_id, period.key)
    return _Asked(caller, period, state, spent_p)


def _rules(
    services: Services, caller: Resolved
) -> Iterator[tuple[LimitRule, str | None, Demand]]:
    """Yield the rules for an account, and what to ask of each; its key is "" if none.

    What is the app's own to say, such as an IP address, nobody can be asked for here.
    """
    every = [model.name for model in services.prices.models]
    for rule in services.rules:
        if rule.tiers is not None and caller.tier.level not in rule.tiers:
            continue
        subjects: dict[str, str | None] = {
            "account": caller.account.id,
            "key": caller.key_id or None,
            "everyone": "",
        }
        if any(subjects.get(name) is None for name in rule.per if name != "model"):
            for quota in rule.quotas:
                yield rule, None, Demand("", quota)
            continue
        models: Iterable[str | None] = (None,)
        if "model" in rule.per:
            models = every if rule.models is None else sorted(rule.models)
        for model in models:
            subjects["model"] = model
            for one in demands_of(rule, subjects, input_tokens=0, output_tokens=0):
                yield rule, model, one


def _budgets(asked: _Asked) -> list[Demand]:
    """Return demands of nothing on each allowance of money that holds."""
    caller = asked.caller
    ceiling = BudgetQuota(caller.credit.ceiling_p, ledgered=True)
    return [
        replace(one, quota=ceiling) if one.name == "credit" else one
        for one in Biller.demands(caller, asked.period, _NO_MODEL, 0)
    ]


async def _left(services: Services, demands: Sequence[Demand]) -> dict[str, Verdict]:
    """Return what is left by the keys of demands; unknown where a store is away."""
    free = [replace(demand, cost=0) for demand in demands]
    held = [demand for demand in free if demand.window is None]
    counted = [demand for demand in free if demand.window is not None]
    found: dict[str, Verdict] = {one.key: Verdict(0, UNKNOWN) for one in demands}
    with suppress(StorageError):  # nobody knows, and the answer says so
        if held:
            told = await services.limits.peek(held, now_ns=services.clock())
            found |= {one.key: each for one, each in zip(held, told, strict=True)}
    with suppress(StorageError):
        if counted and services.windows is not None:
            told = await services.windows.peek(counted)
            found |= {one.key: each for one, each in zip(counted, told, strict=True)}
    return found


def _limit_row(kind: ModelClass, demand: Demand, verdict: Verdict) -> LimitRow:
    amount, per_s, burst = _amounts(demand)
    left = _known(verdict)
    return LimitRow(
        models=kind,
        name=demand.name,
        amount=amount,
        per_s=per_s or 0.0,
        burst=burst,
        used=None if left is None else burst - left,
        remaining=left,
        whole_after_s=verdict.reset_after_ns / NS_PER_S,
    )


def _pool_row(
    pool: str,
    models: list[ModelClass],
    now: Explanation,
    demand: Demand,
    verdict: Verdict,
) -> PoolRow:
    left, (_, _, burst) = _known(verdict), _amounts(demand)
    left = None if left is None else left // REQUEST_COST
    return PoolRow(
        pool=pool,
        models=models,
        state=now.state,
        cause=now.cause,
        limit_rpm=now.limit_rpm,
        previous_rpm=now.previous_rpm,
        used=None if left is None else max(0, burst // REQUEST_COST - left),
        remaining=left,
    )


def _rule_row(
    rule: LimitRule, model: str | None, demand: Demand, verdict: Verdict | None
) -> RuleRow:
    amount, per_s, burst = _amounts(demand)
    left = None if verdict is None else _known(verdict)
    whole_after_s = None
    if verdict is not None and left is not None and per_s is not None:
        whole_after_s = verdict.reset_after_ns / NS_PER_S
    return RuleRow(
        name=demand.name or rule.name,
        counts=rule.unit,
        per=list(rule.per),
        models=None if rule.models is None else sorted(rule.models),
        model=model,
        window=rule.window,
        shadow=rule.shadow,
        amount=amount,
        per_s=per_s,
        burst=burst,
        used=None if left is None else max(0, burst - left),
        remaining=left,
        whole_after_s=whole_after_s,
    )


def _budget_row(asked: _Asked, demand: Demand, verdict: Verdict) -> BudgetRow:
    of: Literal["period", "credit", "key"] = "period"
    spent_p = asked.state.spent_p - asked.state.early_paid_p
    if demand.name == "credit":
        of, spent_p = "credit", asked.caller.credit.used_p
    elif demand.name == "key":
        of, spent_p = "key", asked.key_spent_p
    limit_p, held_p, left_p = demand.quota.amount, None, _known(verdict)
    if left_p is not None:
        # A store that was never asked about it yet answers as if nothing were spent.
        left_p = min(left_p, max(0, limit_p - spent_p))
        held_p = max(0, limit_p - spent_p - left_p)
    return BudgetRow(
        of=of,
        limit_usd=format_usd(limit_p),
        spent_usd=format_usd(spent_p),
        held_usd=None if held_p is None else format_usd(held_p),
        left_usd=None if left_p is None else format_usd(left_p),
    )


def _known(verdict: Verdict) -> int | None:
    return None if verdict.remaining == UNKNOWN else verdict.remaining


def _amounts(demand: Demand) -> tuple[int, float | None, int]:
    """Return amount, period and burst; a budget has no period, and is one burst."""
    quota = demand.quota
    if isinstance(quota, RateQuota):
        return quota.amount, quota.per_ns / NS_PER_S, quota.burst or quota.amount
    return quota.amount, None, quota.amount
