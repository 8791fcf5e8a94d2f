"""`metering check`: what a plan means, and what is wrong with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from metering.backends.limit_stores import limit_store, window_store
from metering.cli.desk import Desk
from metering.cli.exit_codes import FOUND
from metering.cli.output import bullets, table
from metering.cli.service_words import (
    adaptive_document,
    adaptive_words,
    call_words,
    notice_words,
    outage_words,
)
from metering.cli.values import dollars, instant_ns, when
from metering.cli.words import (
    limit_words,
    notices,
    price_words,
    qualification,
    requests_words,
    storage_words,
    tier_words,
    validity,
)
from metering.clock import system_clock
from metering.config import Plan
from metering.errors import ConfigurationError, StorageError
from metering.money import format_usd
from metering.pricing import refuse_changed_past

__all__ = ["check"]

_PRESET = "preset:"


async def check(
    desk: Desk,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="PLAN", help='A TOML file, or "preset:friendli"; None: --config.'
        ),
    ] = None,
    *,
    at: Annotated[
        str | None,
        typer.Option(metavar="INSTANT", help="Prices at that time. Default: now."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Count remarks as faults, too.")
    ] = False,
) -> int:
    """Explain what a plan means for each tier and model, and report faults.

    The exit code is 1 if a service would not start with it.
    """
    if source is not None:
        desk.choose(source)
    named = desk.environ.get("METERING_CONFIG", "")
    if named and not named.startswith(_PRESET):
        _require_file(Path(named))
    now_ns = system_clock() if at is None else instant_ns(at)
    try:
        plan = desk.plan
        _open_stores(plan)
        known = list(notices(plan, now_ns))
        await _compare_with_ledger(desk, known)
    except ConfigurationError as error:
        if not named:
            raise
        desk.output.show(
            {"plan": named, "ok": False, "problem": str(error)},
            f"Wrong: {error}",
        )
        return FOUND
    desk.output.show(
        _document(plan, named, known, now_ns),
        *_readable(plan, str(desk.meter.data), known, now_ns),
    )
    return FOUND if strict and known else 0


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigurationError(
            f"There is no plan {str(path)!r}. Name a TOML file, or a preset as"
            f' "{_PRESET}NAME"; `metering init` writes a file to begin with.'
        )


def _open_stores(plan: Plan) -> None:
    """Make the stores that the plan names; they reach for nothing yet."""
    limit_store(plan.limits_store or "memory://", deadline_ms=plan.outage.deadline_ms)
    window_store(plan.windows_store, plan.limits)


async def _compare_with_ledger(desk: Desk, known: list[str]) -> None:
    """Refuse what the ledger would: a price of the past that was changed."""
    if desk.ledger_missing() is not None:
        return
    try:
        published = await desk.read(desk.ledger.published)
    except StorageError as error:
        known.append(f"Its prices were not compared with those of the ledger: {error}")
    else:
        refuse_changed_past(published, desk.plan.prices, system_clock())


def _document(
    plan: Plan, source: str, known: Sequence[str], now_ns: int
) -> dict[str, object]:
    return {
        "plan": source,
        "ok": True,
        "name": plan.name,
        "notices": list(known),
        "notes": list(plan.notes),
        "tiers": [
            {
                "level": tier.level,
                "name": tier.name,
                "qualification": qualification(tier),
                "requests_paid": requests_words(tier, "paid"),
                "requests_free": requests_words(tier, "free"),
                "output_tokens_max": tier.output_tokens_max,
                "reasoning_output_tokens_max": tier.reasoning_output_tokens_max,
                "usage_limit_usd": _usd(tier.usage_limit_p),
                "funding": tier.funding,
            }
            for tier in plan.tiers.tiers
        ],
        "models": [
            {
                "model": model.name,
                "price": price_words(model.at(now_ns)),
                "validity": validity(model.at(now_ns)),
            }
            for model in plan.prices.models
        ],
        "adaptive": adaptive_document(plan),
        "limits": [limit_words(rule) for rule in plan.limits],
        "calls": list(call_words(plan)),
        "told": list(notice_words(plan)),
        "outage": list(outage_words(plan)),
    }


def _readable(
    plan: Plan, data: str, known: Sequence[str], now_ns: int
) -> list[RenderableType]:
    tiers = [
        (
            tier.name,
            qualification(tier),
            requests_words(tier, "paid"),
            requests_words(tier, "free"),
            f"{tier.output_tokens_max:,}",
            "credit" if tier.funding == "credit" else _limit(tier.usage_limit_p),
        )
        for tier in plan.tiers.tiers
    ]
    models = [
        (model.name, price_words(model.at(now_ns)), validity(model.at(now_ns)))
        for model in plan.prices.models
    ]
    columns = ("tier", "who", "paid models", "free models", "output>", "a month>")
    parts: list[RenderableType] = [
        f"Plan {plan.name!r}: nothing is wrong with it.",
        table("Tiers", columns, tiers),
        bullets("In words", map(tier_words, plan.tiers.tiers)),
        table(
            f"Models, at {when(now_ns)}",
            ("model", "price (tokens: per 1M)", ""),
            models,
        ),
    ]
    for title, lines in (
        ("Adaptive limits", list(adaptive_words(plan))),
        ("Limits beside those of the tiers", list(map(limit_words, plan.limits))),
        ("Accounts and calls", list(call_words(plan))),
        ("Who is told", list(notice_words(plan))),
        ("While the shared store of limits is away", list(outage_words(plan))),
        ("Where things are kept", list(storage_words(plan, data))),
        ("Worth knowing", known),
        ("Notes of the plan", plan.notes),
    ):
        if lines:
            parts.append(bullets(title, lines))
    return parts


def _usd(amount_p: int | None) -> str | None:
    return None if amount_p is None else format_usd(amount_p)


def _limit(amount_p: int | None) -> str:
    return "no limit" if amount_p is None else dollars(amount_p)
