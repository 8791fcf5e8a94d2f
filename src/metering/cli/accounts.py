"""`metering accounts`: who is billed, and what was agreed with them."""

from typing import Annotated

import typer

from metering.accounts import Account, AgreedPrices, Agreement, ModelClass
from metering.cli.command import command, group
from metering.cli.desk import Desk
from metering.cli.output import facts, table
from metering.cli.values import (
    ADAPTIVE_TEXT,
    account_document,
    amount,
    may_document,
    rate_text,
    when,
)
from metering.clock import system_clock
from metering.errors import ConfigurationError
from metering.money import format_usd
from metering.quota import RateQuota
from metering.resolved import Resolved, resolved

__all__ = ["accounts"]

accounts = group("accounts", "Who is billed: create, look up, suspend, pin, agree.")

AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]
_CLASSES: tuple[ModelClass, ...] = ("paid", "free")


@command(accounts, "list")
async def list_accounts(
    desk: Desk,
    after: Annotated[str, typer.Option(help="Start after this id.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = (
        100
    ),
) -> None:
    """List accounts by id, with their tiers and payments."""
    found = await desk.read(desk.ledger.accounts, after=after, limit=limit)
    tier_of = desk.meter.accounts.tier_of
    rows = [
        (a.id, tier_of(a).name, amount(a.lifetime_paid_p), _remarks(a)) for a in found
    ]
    desk.output.show(
        [account_document(account, tier_of(account)) for account in found],
        table("Accounts", ("account", "tier", "paid so far>", ""), rows),
    )
    if len(found) == limit:
        desk.output.note(f"There may be more: --after {found[-1].id}")


@command(accounts, "create")
async def create(
    desk: Desk,
    account: AccountId,
    *,
    time_zone: Annotated[
        str | None, typer.Option(help="Where its months begin. Default: the plan's.")
    ] = None,
    anchor_day: Annotated[
        int | None, typer.Option(help="Day its months begin. Default: the plan's.")
    ] = None,
) -> None:
    """Create an account with its sign-up credit. An existing one stays unchanged."""
    add = desk.meter.accounts.create
    await add(account, time_zone=time_zone, anchor_day=anchor_day)
    await _show(desk, account)
    desk.output.note(f"A key for it: metering keys issue {account}")


@command(accounts, "show")
async def show(desk: Desk, account: AccountId) -> None:
    """Show an account, its tier, what it may do and what it has spent."""
    _ = desk.opened
    await _show(desk, account)


@command(accounts, "suspend")
async def suspend(desk: Desk, account: AccountId) -> None:
    """Refuse every call of an account, until it is resumed."""
    await desk.opened.accounts.suspend(account)
    await _show_change(desk, account)


@command(accounts, "resume")
async def resume(desk: Desk, account: AccountId) -> None:
    """Serve a suspended account again."""
    await desk.opened.accounts.suspend(account, suspended=False)
    await _show_change(desk, account)


@command(accounts, "payment-method")
async def payment_method(
    desk: Desk,
    account: AccountId,
    on_file: Annotated[
        bool, typer.Option("--on-file/--none", help="Whether a valid one is on file.")
    ],
) -> None:
    """Record whether a valid payment method is on file; this can change the tier."""
    await desk.opened.accounts.set_payment_method(account, on_file=on_file)
    await _show_change(desk, account)


@command(accounts, "pin")
async def pin(
    desk: Desk,
    account: AccountId,
    level: Annotated[int | None, typer.Argument(help="The level of a tier.")] = None,
    *,
    none: Annotated[bool, typer.Option("--none", help="Remove the pin.")] = False,
) -> None:
    """Pin an account to a tier by agreement, or remove the pin."""
    if none == (level is not None):
        raise ConfigurationError(
            "A pin needs the level of a tier, such as `metering accounts pin acme 5`,"
            " or --none to end it."
        )
    await desk.opened.accounts.pin_tier(account, level)
    await _show_change(desk, account)


@command(accounts, "override")
async def override(
    desk: Desk,
    account: AccountId,
    *,
    usage_limit: Annotated[
        str | None,
        typer.Option(metavar="USD", help='Dollars each month, such as "500".'),
    ] = None,
    output_tokens_max: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help='Output of one request, such as "32K".'),
    ] = None,
    reasoning_output_tokens_max: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help="The same for reasoning models."),
    ] = None,
    requests: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RATE",
            help='For a class of models: "paid=2000/minute". May be repeated.',
        ),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PRICE",
            help='Dollars per 1M tokens: "my/model=0.5,2". May be repeated.',
        ),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="End the agreement.")] = False,
) -> None:
    """Set an account's agreement. It replaces the whole previous one."""
    agreed = Agreement()
    if usage_limit is not None:
        agreed["usage_limit"] = usage_limit
    if output_tokens_max is not None:
        agreed["output_tokens_max"] = output_tokens_max
    if reasoning_output_tokens_max is not None:
        agreed["reasoning_output_tokens_max"] = reasoning_output_tokens_max
    if requests:
        agreed["requests"] = dict(map(_rate, requests))
    if price:
        agreed["prices"] = dict(map(_price, price))
    if none == bool(agreed):
        raise ConfigurationError(
            "Name what was agreed, such as --usage-limit 500, or --none to end it all:"
            " one of the two."
        )
    await desk.opened.accounts.override(account, **agreed)
    await _show_change(desk, account)


def _rate(text: str) -> tuple[ModelClass, str]:
    kind, equals, rate = text.partition("=")
    if kind not in _CLASSES or not equals:
        raise ConfigurationError(
            f"--requests {text!r} cannot be used. Write a class of models and its rate,"
            ' such as "paid=2000/minute" or "free=60/minute".'
        )
    return kind, rate


def _price(text: str) -> tuple[str, AgreedPrices]:
    model, _, prices = text.rpartition("=")
    read, comma, written = prices.partition(",")
    if not (model and read and comma and written):
        raise ConfigurationError(
            f"--price {text!r} cannot be used. Write the model and its dollars per 1M"
            ' tokens of input and of output, such as "zai-org/GLM-4.7=0.5,2".'
        )
    return model, AgreedPrices(input=read.strip(), output=written.strip())


async def _show_change(desk: Desk, account_id: str) -> None:
    await _show(desk, account_id)
    desk.note_reach()


async def _show(desk: Desk, account_id: str) -> None:
    meter = desk.meter
    account = await meter.accounts.get(account_id)
    credit = await meter.billing.credit(account_id)
    period = await meter.billing.period(account_id)
    now_ns = system_clock()
    caller = resolved(
        account, credit, meter.plan.tiers, now_ns=now_ns, good_until_ns=now_ns
    )
    spent_p = period.spent_p - period.early_paid_p
    desk.output.show(
        account_document(account, caller.tier)
        | {
            "may": may_document(caller),
            "spent_this_period_usd": format_usd(spent_p),
        },
        facts(f"Account {account_id}", _facts(caller, spent_p)),
    )


def _facts(caller: Resolved, spent_p: int) -> list[tuple[str, str]]:
    account, credit = caller.account, caller.credit
    limit_p = caller.usage_limit_p
    limit = ", no monthly limit" if limit_p is None else f" of {amount(limit_p)}"
    if caller.funding == "credit":
        limit = ", of credit alone"
    facts = [
        ("created", when(account.created_ns)),
        ("tier", f"{caller.tier.name} (level {caller.tier.level})"),
        ("paid so far", amount(account.lifetime_paid_p)),
        ("payment method", "on file" if account.payment_method else "none"),
    ]
    for kind, demands in caller.requests.items():
        rates = [rate_text(d.quota) for d in demands if isinstance(d.quota, RateQuota)]
        facts.append((f"requests, {kind} models", "; ".join(rates)))
    facts += [
        (f"requests, {kind} models", ADAPTIVE_TEXT) for kind in sorted(caller.adaptive)
    ]
    facts += [
        ("output of a request", _output(caller)),
        ("spent this period", f"{amount(spent_p)}{limit}"),
        ("credit left", amount(credit.ceiling_p - credit.used_p)),
    ]
    remarks = _remarks(account)
    return [*facts, ("besides", remarks)] if remarks else facts


def _output(caller: Resolved) -> str:
    text = f"{caller.output_tokens_max:,} tokens"
    if caller.reasoning_output_tokens_max != caller.output_tokens_max:
        text += f"; models that reason {caller.reasoning_output_tokens_max:,}"
    return text


def _remarks(account: Account) -> str:
    remarks = []
    if account.suspended:
        remarks.append("suspended")
    if account.pin is not None:
        remarks.append(f"pinned to level {account.pin}")
    agreed = account.overrides
    terms = (
        ("limit", agreed.usage_limit_p is not None),
        (
            "output",
            agreed.output_tokens_max is not None
            or agreed.reasoning_output_tokens_max is not None,
        ),
        ("requests", bool(agreed.requests)),
        ("prices", bool(agreed.prices)),
    )
    own = [name for name, there in terms if there]
    if own:
        remarks.append(f"agreed: {', '.join(own)}")
    return ", ".join(remarks)
