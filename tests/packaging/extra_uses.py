"""Uses each extra; run where the wheel is: `python extra_uses.py EXTRA ...`.

Prints a JSON object: of each extra what became of its uses, "works" or what was said.
"""

import contextlib
import io
import json
import sys
from importlib import import_module

import anyio

import metering
from metering.asgi.codings import open_decoder
from metering.config import load_plan, preset_text
from metering.exports.printable import invoice_html
from metering.ledger import Invoice

HOOK = """
[[webhooks]]
url = "http://127.0.0.1:1/"
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
"""


def made(more=""):
    """Return the metering of the preset, with more in its plan."""
    plan = load_plan(f"{preset_text('friendli')}\n{more}", source="plan.toml")
    return metering.Metering(plan)


def lived(more=""):
    """Start a service and stop it."""

    async def live():
        meter = made(more)
        await meter.start()
        await meter.stop()

    anyio.run(live)


def paper():
    """Print an invoice."""
    none = {"lines": (), "total_cents": 0, "residual_p": 0}
    times = {"start_ns": 0, "end_ns": 1, "closed_ns": 2}
    invoice_html(Invoice(id="a", account_id="a", period="2026-01", **times, **none))


def page():
    """Open the console as a browser does."""
    said = []
    scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/"}
    scope |= {"query_string": b"", "headers": [], "server": ("t", 80)}

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        said.append(message)

    anyio.run(made().console(), scope, receive, send)
    if said[0]["status"] >= 400:
        raise RuntimeError(said[1]["body"].decode())


def command():
    """Run a command at a terminal."""
    sys.argv = ["metering", "check", "preset:friendli"]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            import_module("metering.cli").main()
        except SystemExit as ended:
            if ended.code:
                raise


def codings():
    """Decode what a client has compressed."""
    if None in {open_decoder(coding, bytes) for coding in (b"br", b"zstd")}:
        raise RuntimeError("not decoded")


USES = {
    "cli": [command],
    "compression": [codings],
    "console": [page, paper],
    "demo": [lambda: import_module("metering.demo.__main__")],
    "engine": [lambda: metering.PrometheusGauges("http://127.0.0.1:1/metrics")],
    "nats": [lambda: lived('[events]\nnats = "nats://127.0.0.1:1"')],
    "otel": [lambda: metering.OpenTelemetry()],  # noqa: PLW0108 - imported when used
    "postgres": [lambda: made('[storage]\nledger = "postgresql://127.0.0.1:1/none"')],
    "prometheus": [lambda: made().metrics()],
    "redis": [lambda: made('[storage]\nlimits = "redis://127.0.0.1:1"')],
    "webhooks": [lambda: lived(HOOK)],
    "core": [lived],
}


def told(use):
    """Say what became of a use."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            use()
    except BaseException as error:  # noqa: BLE001 - a command ends with SystemExit
        return f"{error}{said.getvalue()}"
    return "works"


if __name__ == "__main__":
    uses = {extra: [told(use) for use in USES[extra]] for extra in sys.argv[1:]}
    sys.stdout.write(json.dumps(uses))
