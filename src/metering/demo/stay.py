"""Staying: months before the demo, traffic after it, and the console for both."""

import asyncio
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from metering.clock import NS_PER_S
from metering.demo.months import CUSTOMERS, live_through
from metering.demo.script import BY_TOKENS, Script
from metering.demo.serve import START_NS, Service
from metering.demo.traffic import Visitor, keep_calling

__all__ = ["Past", "live_before", "stay"]

_QWEN, _LLAMA = (
    "Qwen/Qwen3-235B-A22B-Instruct-2507",
    "meta-llama/Llama-3.3-70B-Instruct",
)
_PART = 0.5
"""Which part of those months' calls is made: it takes some seconds."""

_FIRST = CUSTOMERS[0].name
_VISITORS = (
    Visitor(account=_FIRST, models=(BY_TOKENS, _QWEN)),
    Visitor(account="blue-harbor", models=(_LLAMA,)),
    Visitor(account="company", models=(BY_TOKENS,), calls_max=2),
    Visitor(account="newcomer", models=(BY_TOKENS,), calls_max=3, hurries=True),
    Visitor(account="iris-vision", models=(BY_TOKENS,), calls_max=3, hurries=True),
    Visitor(account="olive-studio", models=(BY_TOKENS,), calls_max=3, hurries=True),
)
"""The last three are in tier 0 and get what the model can spare."""

_SAID = """
[b]The service goes on[/b]

Thirteen more accounts have five months behind them: their calls were made up,
and posted to this ledger with its clock set back. Calls of six accounts go on,
now few for a minute, now more than the model can serve: then Tier 0 gets what
is spare, as 'Platform' shows to the operator. To call as an account:
"""


@dataclass(frozen=True, slots=True)
class Past:
    """Who was there before the demo, and who may look at all of them.

    Attributes:
        keys: A key of each account, by its name.
        operator_token: What an operator signs in to the console by.
    """

    keys: dict[str, str]
    operator_token: str


def live_before(data: Path) -> Past:
    """Fill a data home with the months before the demo; it takes some seconds."""
    until = datetime.fromtimestamp(START_NS // NS_PER_S, UTC)
    keys = asyncio.run(live_through(data, until=until, part=_PART, days_of_pools=0))
    return Past(keys, secrets.token_hex(16))


def stay(service: Service, script: Script, past: Past, console: Console) -> None:
    """Leave the server running with some traffic, until someone presses Ctrl-C."""
    keys = past.keys | {c.name: c.key for c in script.customers.values()}
    service.model.slow = True
    with (
        suppress(KeyboardInterrupt),
        service.beside(partial(keep_calling, service.url, _VISITORS, keys)),
    ):
        _invite(service, past, console)
        threading.Event().wait()
    console.print("Stopping ...")


def _invite(service: Service, past: Past, console: Console) -> None:
    url, token, key = service.url, past.operator_token, past.keys[_FIRST]
    console.print(_SAID)
    question = '{"role": "user", "content": "Hello"}'
    # As they are, on one line each: they are to be copied.
    copied = partial(print, file=console.file, flush=True)
    copied(
        f"curl -i {url}/v1/chat/completions -H 'Authorization: Bearer {key}'"
        " -H 'Content-Type: application/json'"
        f""" -d '{{"model": "{BY_TOKENS}", "messages": [{question}]}}'"""
    )
    console.print("\n[b]The console[/b]\n")
    copied(f"  open      {url}/console/")
    copied(f"  operator  {token}  sees all accounts")
    copied(f"  account   {key}  of {_FIRST}")
    console.print("\nCtrl-C ends it.")
