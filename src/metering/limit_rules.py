"""Limits of the plan beside those of tiers: what each counts, whose, of which calls."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.quota import BudgetQuota, Demand, Quota, RateQuota, Unit, Window
from metering.usage import Usage

__all__ = [
    "OWN_SUBJECTS",
    "LimitRule",
    "LimitUnit",
    "demands_of",
    "key_part",
    "units_used",
]

LimitUnit = Literal["requests", "tokens", "input_tokens", "output_tokens", "running"]
"""What a limit counts. `running` is how many calls run at once."""

OWN_SUBJECTS = ("account", "key", "model", "everyone")
"""Whose limit it is, of what every call has; other subjects are the app's functions."""

_PART_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """One limit.

    Attributes:
        name: What clients and logs call it.
        quotas: The allowances, all of which must grant: rates, or one budget where it
            counts running calls.
        unit: What it counts.
        per: Whose it is: each combination of these subjects has quotas of its own.
        tiers: Levels of the tiers it is for; None for all.
        models: Models it is for, as requests name them; None for all.
        shadow: Whether it is only tried out: judged and told, never enforced.
        window: How requests are counted instead of by a rate that refills.

    Raises:
        ConfigurationError: It counts running calls by a rate, or else by a budget; or
            it has a window, which cannot count that.
    """

    name: str
    quotas: tuple[Quota, ...]
    unit: LimitUnit = "requests"
    per: tuple[str, ...] = ("account",)
    tiers: frozenset[int] | None = None
    models: frozenset[str] | None = None
    shadow: bool = False
    window: Window | None = None

    def __post_init__(self) -> None:
        wanted = BudgetQuota if self.unit == "running" else RateQuota
        if not self.quotas or any(type(quota) is not wanted for quota in self.quotas):
            raise ConfigurationError(
                f"Limit {self.name!r} counts {self.unit}, so it takes"
                f" {'a number at once' if self.unit == 'running' else 'rates'}."
            )
        if self.window is not None:
            for quota in self.quotas:
                _check_window(self.name, self.unit, quota)

    def covers(self, tier: int | None, model: str) -> bool:
        """Whether it is for calls of that tier to that model."""
        return (self.tiers is None or tier in self.tiers) and (
            self.models is None or model in self.models
        )


def demands_of(
    rule: LimitRule,
    subjects: Mapping[str, str | None],
    *,
    input_tokens: int,
    output_tokens: int,
) -> Iterator[Demand]:
    """Yield what one call demands of a limit.

    Args:
        rule: The limit.
        subjects: The call's value of each subject. A call without one of those that
            the limit is per, such as a key where the app vouched, is not limited.
        input_tokens: Estimate of what the model reads, corrected when it is known.
        output_tokens: Most that the model may write.
    """
    values = [subjects.get(name) for name in rule.per]
    if None in values:
        return
    key = _key(rule, {name: str(subjects[name]) for name in rule.per})
    for at, quota in enumerate(rule.quotas):
        cost = _cost(rule.unit, quota, input_tokens, output_tokens)
        yield Demand(
            key=f"{key}:{at}" if at else key,
            quota=quota,
            cost=cost,
            name=_name(rule, quota, at),
            unit=rule.unit,
            shadow=rule.shadow,
            window=rule.window,
        )


def units_used(unit: Unit, usage: Usage) -> int:
    """Return what a call used of a limit that counts tokens; 0 of running calls."""
    if unit == "running":
        return 0
    used = usage.output_total if unit != "input_tokens" else 0
    return used + (usage.input_total if unit != "output_tokens" else 0)


def _check_window(name: str, unit: LimitUnit, quota: Quota) -> None:
    if unit != "requests" or not isinstance(quota, RateQuota):
        raise ConfigurationError(
            f"Limit {name!r} has a window, and windows count requests alone: what they"
            f" counted cannot be corrected or given back. {unit!r} needs no window."
        )
    if quota.burst != quota.amount or quota.per_ns % NS_PER_S:
        raise ConfigurationError(
            f"Limit {name!r} has a window, which lasts whole seconds and has no burst"
            " of its own."
        )


def _cost(unit: LimitUnit, quota: Quota, input_tokens: int, output_tokens: int) -> int:
    if unit in {"requests", "running"}:
        return 1
    cost = input_tokens if unit != "output_tokens" else 0
    if unit != "input_tokens":
        # Most calls write far less than they may: one whose bound alone is above the
        # quota is let in when the quota is whole, and what it does write is settled.
        burst = quota.amount
        if isinstance(quota, RateQuota):
            burst = quota.burst or quota.amount
        cost = max(cost, min(cost + output_tokens, burst))
    return cost


def _name(rule: LimitRule, quota: Quota, at: int) -> str:
    if not at or not isinstance(quota, RateQuota):
        return rule.name
    return f"{rule.name}-{quota.per_us // 1_000_000}s"


def _key(rule: LimitRule, values: Mapping[str, str]) -> str:
    # All keys of one account share a slot of a cluster, by what the braces hold.
    others = ":".join(key_part(v) for name, v in values.items() if name != "account")
    account = values.get("account")
    if account is None:
        return f"{{limit:{rule.name}:{others}}}"
    return f"{{{account}}}:limit:{rule.name}:{others}"


def key_part(value: str) -> str:
    """Return what stands for a value in the key of a quota."""
    # What a client may choose has no bound of its own, and might hold braces, or what a
    # store refuses in a key: NUL, other controls, half a surrogate pair.
    plain = value.isascii() and value.isprintable()
    if plain and len(value) <= _PART_LENGTH_MAX and not set(value) & set("{}:"):
        return value
    return sha256(value.encode(errors="surrogatepass")).hexdigest()
