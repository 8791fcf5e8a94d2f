"""`python -m metering.demo`: serve, play the script, show what the ledger has."""

import argparse
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

import msgspec
import structlog
from rich.console import Console
from rich.padding import Padding

from metering.demo.script import Script
from metering.demo.serve import HOST, START_NS, Service, serve
from metering.demo.stay import live_before, stay
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

_STAYING = """
[b]To see it in a browser[/b], with months of calls and traffic that goes on:

  make demo ARGS=--stay        or: metering demo --stay"""

_INTERRUPTED = 130


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
        "--stay",
        action="store_true",
        help="go on at the end, with the console in a browser and a little traffic,"
        " until Ctrl-C",
    )
    parser.add_argument(
        "--port", type=int, default=0, help="of the server (default: one that is free)"
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
    try:
        listener = socket.create_server((HOST, chosen.port))
    except (OSError, OverflowError) as error:
        parser.error(f"--port {chosen.port}: {error}. Name another, or none.")
    data.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, stderr=chosen.json)
    play = partial(_play_and_stay, console) if chosen.stay else partial(_play, console)
    try:
        with (data / "demo.log").open("w", encoding="utf-8") as log, listener:
            _log_into(log)
            play(data, listener, as_json=chosen.json)
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return _INTERRUPTED
    return 0


def _play(
    console: Console, data: Path, listener: socket.socket, *, as_json: bool
) -> None:
    console.print(_OPENING)
    with serve(data, listener=listener) as service:
        _run(service, data, console, as_json=as_json)
    if not as_json:
        console.print(_STAYING)


def _play_and_stay(
    console: Console, data: Path, listener: socket.socket, *, as_json: bool
) -> None:
    console.print(_OPENING)
    with console.status("Posting five months of calls, with the clock set back ..."):
        past = live_before(data)
    with serve(data, operator_token=past.operator_token, listener=listener) as service:
        script = _run(service, data, console, as_json=as_json)
        stay(service, script, past, console)
    console.print("Ended; every call is in the ledger.")


def _run(service: Service, data: Path, console: Console, *, as_json: bool) -> Script:
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
    return script


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
