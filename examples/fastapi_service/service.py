"""A FastAPI service: calls are metered, `/me` knows who asks, an operator has routes.

ADMIN_TOKEN=change-me uvicorn service:app
"""

import os
from pathlib import Path
from secrets import compare_digest
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException

from metering import Metering
from metering.accounts import Account
from metering.money import format_usd
from metering.testing import FakeModel

meter = Metering.from_file(Path(__file__).with_name("plan.toml"))

app = FastAPI()


@app.get("/me")
async def me(account: Annotated[Account, Depends(meter.current_account)]) -> dict:
    """Tell whoever has a key what they may do, and what they have used."""
    tier = meter.accounts.tier_of(account)
    credit = await meter.billing.credit(account.id)
    used = await meter.billing.usage(account.id)
    return {
        "account": account.id,
        "tier": tier.name,
        "credit_usd": format_usd(credit.ceiling_p - credit.used_p),
        "used": {total.model: format_usd(total.charge_p) for total in used},
    }


def operator(x_admin_token: Annotated[str, Header()]) -> None:
    """Let nobody pass who does not have the token of the environment."""
    if not compare_digest(x_admin_token, os.environ["ADMIN_TOKEN"]):
        raise HTTPException(403, "That is not the operator's token.")


admin = APIRouter(prefix="/admin", dependencies=[Depends(operator)])


@admin.post("/accounts/{account_id}")
async def sign_up(account_id: str) -> dict:
    """Make an account, and a key that is shown this once."""
    await meter.accounts.create(account_id)
    return {"key": await meter.accounts.issue_key(account_id)}


@admin.post("/accounts/{account_id}/payments/{reference}")
async def paid(account_id: str, reference: str, usd: str) -> dict:
    """Note a payment, once a reference; the tier follows from what was paid."""
    account = await meter.billing.record_payment(
        account_id, usd=usd, reference=reference, kind="credit_purchase"
    )
    return {"tier": meter.accounts.tier_of(account).name}


app.include_router(admin)
app.mount("/", FakeModel(output_tokens=64))  # your own endpoints would stand here
app.add_middleware(meter.wrap)  # last: outermost
