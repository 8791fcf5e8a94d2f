"""What is left after a storm, and whether all of it agrees."""

import anyio
from anyio import to_thread
from crash_worker import LEASE_S, plan_of

from metering import Metering
from metering.backends.sql import verify
from metering.billing import usage_limit_demand
from metering.clock import system_clock
from metering.journal import survey_journals
from metering.ledger import period_of
from metering.money import PICO, format_usd
from metering.quota import BudgetQuota, Demand


async def judged(data, copies, whole, meter, *, cap_p):
    """Adopt what is left, twice; then compare all there is."""
    for _ in range(2):
        adopter = Metering(plan_of(data))
        await adopter.start()
        await adopter.stop()
    await anyio.sleep(
        LEASE_S + 0.5
    )  # of calls that were killed before their first line
    journalled = copies.events()
    charged = {}
    for name in ("acme", "capped", "keyed", "trial"):
        for each in meter.ledger.events(name, limit=10_000_000):
            charged[each.event.id] = each.event.charge_p
    again = meter.ledger.post(list(journalled.values()))
    admitted = (data / "admitted").read_text().split()
    checked = await to_thread.run_sync(verify, data / "ledger.db")
    rooms = {name: await gate(meter, name) for name in ("acme", "capped", "keyed")}
    rooms["trial"] = await credit(meter)
    await meter.stop()
    told = {
        call_id: cost if isinstance(cost, str) else format_usd(cost)
        for call_id, cost in whole.items()
    }
    faults = {
        "journalled and not charged": len(journalled.keys() - charged.keys()),
        "charged and not journalled": len(charged.keys() - journalled.keys()),
        "charged otherwise than journalled": sum(
            event.charge_p != charged.get(call_id)
            for call_id, event in journalled.items()
        ),
        "admitted and not charged": len(set(admitted) - charged.keys()),
        "admitted twice": len(admitted) - len(set(admitted)),
        "whole answers charged otherwise": sum(
            told[call_id] != format_usd(charged.get(call_id, -1)) for call_id in told
        ),
        "new by a second replay": len(again.posted),
        "conflicts of a second replay": len(again.conflicts),
        "journals left": len(survey_journals(data, meter.ledger.known)),
        "sum of the books": sum(meter.ledger.balances_p().values()),
        "findings of verify": len(checked.findings),
        "above the cap, p$": max(0, rooms["capped"]["spent_p"] - cap_p),
        "gates that differ from the ledger": sum(
            each["gate_p"] != each["spent_p"] for each in rooms.values()
        ),
    }
    return {
        "journalled": len(journalled),
        "charged": len(charged),
        "charged_usd": format_usd(sum(charged.values())),
        "whole answers": len(told),
        "recovered": sum(e.ending == "recovered" for e in journalled.values()),
        "rooms": rooms,
        "faults": faults,
    }


async def gate(meter, name):
    """Return what an account has spent: as its gate sees it, and as the ledger does."""
    account = meter.ledger.get(name)
    now_ns = system_clock()
    key = period_of(account, now_ns).key
    asked = usage_limit_demand(name, key, PICO, 0)
    spent_p = meter.ledger.period(name, key).spent_p
    return await _compared(meter, asked, spent_p, now_ns)


async def credit(meter):
    """Return the same of the account that has credit alone."""
    account = meter.ledger.get("trial")
    now_ns = system_clock()
    key = f"{{trial}}:credit:{account.credit_epoch}"
    asked = Demand(key, BudgetQuota(PICO, ledgered=True), 0)
    used_p = meter.ledger.credit("trial", now_ns=now_ns).used_p
    return await _compared(meter, asked, used_p, now_ns)


async def _compared(meter, asked, spent_p, now_ns):
    # What is held counts against the room as well: nothing may be.
    await meter.limit_store.seed(asked.key, spent_p, now_ns=now_ns)
    (verdict,) = await meter.limit_store.peek([asked], now_ns=now_ns)
    return {"spent_p": spent_p, "gate_p": PICO - verdict.remaining}
