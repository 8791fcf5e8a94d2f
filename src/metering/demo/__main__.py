"""`python -m metering.demo`: serve, play the script, show what the ledger has."""

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TextIO

import msgspec
import structlog
from rich.console import Console
from rich.padding import Padding

from metering.demo.script import BY_TOKENS, Script
from metering.demo.serve import START_NS, Service, serve
from metering.demo.tables import (
    Statement,
    charges_table,
    records,
    refusals_table,
    statement_document,
    tiers_table,
)

_OPENING = """\
[b]A model server with metering around it[/b], called by OpenAI's own client.
The model is a fake: it writes 64 words, and says that it computed for
287.341 s. The server's clock was set to 2026-01-15T00:00:00Z and runs on from
there, because one model of its price list, the preset 'friendli', is free until
2026-02-12.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m metering.demo",
        description="A small model server with everything around it.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="an empty or new directory for the records (default: .metering/demo-TIME)",
    )
    parser.add_argument(
        "--serve", action="store_true", help="keep the server running at the end"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="end with one JSON document on standard output; the story is on the other",
    )
    chosen = parser.parse_args(argv)
    data = chosen.data or Path(".metering", time.strftime("demo-%Y%m%d-%H%M%S"))
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        parser.error(f"{data} is not an empty directory. Name another, or none.")
    data.mkdir(parents=True, exist_ok=True)
    with (data / "demo.log").open("w", encoding="utf-8") as log:
        _log_into(log)
        with serve(data) as service:
            _run(service, data, keep=chosen.serve, as_json=chosen.json)
    if chosen.serve:
        aside = sys.stderr if chosen.json else sys.stdout
        print("Ended; every call is in the ledger.", file=aside)
    return 0


def _run(service: Service, data: Path, *, keep: bool, as_json: bool) -> None:
    console = Console(highlight=False, stderr=as_json)
    console.print(_OPENING)
    script = Script(service, tell=partial(_tell, console))
    with console.status("Calling the server ..."):
        script.play()
        statements = _statements(service, script)
    if as_json:
        _show_document(statements, script, data)
    else:
        console.print()
        prices = service.meter.plan.prices
        console.print(charges_table(statements, prices, START_NS))
        console.print(refusals_table(script.refusals))
        console.print(tiers_table(statements))
        for line in records(data):
            console.print(line, soft_wrap=True)
    if keep:
        _keep(service, script, console)


def _show_document(statements: Sequence[Statement], script: Script, data: Path) -> None:
    document = {
        "data": str(data),
        "accounts": list(map(statement_document, statements)),
        "refusals": script.refusals,
    }
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    print(text, flush=True)


def _tell(console: Console, sentence: str) -> None:
    console.print(Padding(sentence, (0, 0, 0, 2)))


def _statements(service: Service, script: Script) -> list[Statement]:
    return [
        Statement(
            account=service.account(name),
            before=customer.before,
            after=service.tier(name),
            totals=service.totals(name, calls=customer.served),
            credit=service.credit(name),
        )
        for name, customer in script.customers.items()
    ]


def _keep(service: Service, script: Script, console: Console) -> None:
    """Leave the server running until someone presses Ctrl-C."""
    console.print("The server runs on. Try it, as 'company' in Tier 3:\n")
    # As it is, on one line: it is to be copied.
    print(
        f"curl -i {service.url}/v1/chat/completions"
        f" -H 'Authorization: Bearer {script.customers['company'].key}'"
        f" -H 'Content-Type: application/json' -d '"
        f'{{"model": "{BY_TOKENS}", "messages":'
        f' [{{"role": "user", "content": "Hello"}}]}}\'\n',
        file=console.file,
        flush=True,
    )
    console.print("Ctrl-C ends it.")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def _log_into(log: TextIO) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(log),
    )


if __name__ == "__main__":
    sys.exit(main())
