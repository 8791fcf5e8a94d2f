"""What type checkers say of programs that use the public names; it is never run."""

from typing import assert_type

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from metering import Metering, MeteringMiddleware
from metering.accounts import Account
from metering.asgi.stack import Stack
from metering.ledger import CreditState, Invoice, PeriodState, Standing
from metering.stores import ChargedEvent, Ledger, UsageDay, UsageTotal
from metering.testing import FakeModel, ManualClock


def wrapping_an_app(meter: Metering) -> None:
    app = FastAPI()
    app.add_middleware(meter.wrap)
    app.add_middleware(MeteringMiddleware)
    Starlette(middleware=[Middleware(meter.wrap)])
    assert_type(meter.wrap(app), Stack)


def making_one(ledger: Ledger) -> None:
    clock = ManualClock()
    assert_type(Metering.from_preset("friendli", clock=clock), Metering)
    assert_type(Metering.from_file("plan.toml", ledger=ledger), Metering)
    assert_type(Metering.from_env(), Metering)
    Metering.from_preset("friendli", clocks=clock)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Metering.from_preset("friendli", clock=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def operating(meter: Metering) -> None:
    assert_type(await meter.accounts.create("acme"), Account)
    assert_type(await meter.accounts.issue_key("acme"), str)
    paid = await meter.billing.record_payment(
        "acme", usd="50", reference="pi_1", kind="credit_purchase"
    )
    assert_type(paid, Account)
    assert_type(await meter.billing.credit("acme"), CreditState)
    assert_type(await meter.billing.period("acme"), PeriodState)
    assert_type(await meter.billing.usage("acme"), list[UsageTotal])
    assert_type(await meter.billing.days("acme"), list[UsageDay])
    assert_type(await meter.billing.charges("acme"), list[ChargedEvent])
    assert_type(await meter.billing.close("acme"), Invoice)
    assert_type(await meter.billing.invoices(), list[Invoice])
    assert_type(await meter.corrections.reverse("id", reason="ours"), Standing)
    agreed = await meter.accounts.override(
        "acme",
        usage_limit="500",
        output_tokens_max="32K",
        requests={"paid": "2000/minute", "free": {"rate": "1/second", "burst": 9}},
        prices={"model": {"input": "0.5", "output": "2"}},
    )
    assert_type(agreed, Account)
    await meter.accounts.override("acme", usage_limit=0.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    # Dollars are decimal text, never a float.
    await meter.billing.record_payment(
        "acme",
        usd=50.0,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        reference="pi_1",
        kind="tip",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    )


def identifying() -> None:
    async def identify(scope: Scope) -> str | None:
        return scope["session"].get("account")  # type: ignore[no-any-return]

    Metering.from_preset("friendli", identify=identify)


async def calling(meter: Metering, scope: Scope, receive: Receive, send: Send) -> None:
    await meter.wrap(FakeModel())(scope, receive, send)
