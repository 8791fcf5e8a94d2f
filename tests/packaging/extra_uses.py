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
from metering.testing import FakeModel

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


async def asked(app, method, path, headers=(), body=b""):
    """Send an app one request; return the headers of its answer."""
    said = []
    scope = {"type": "http", "method": method, "scheme": "http", "path": path}
    scope |= {"query_string": b"", "headers": [*headers], "server": ("t", 80)}

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        said.append(message)

    await app(scope, receive, send)
    if said[0]["status"] >= 400:
        raise RuntimeError(said[1]["body"].decode())
    return dict(said[0]["headers"])


def page():
    """Open the console as a browser does."""
    anyio.run(asked, made().console(), "GET", "/")


def called(more=""):
    """Serve a call of an account, and charge for it."""
    model = "zai-org/GLM-4.7"
    chat = {"model": model, "messages": [{"role": "user", "content": "a b c"}]}

    async def call():
        meter = made(more)
        await meter.accounts.create("acme")
        key = await meter.accounts.issue_key("acme")
        headers = [(b"authorization", f"Bearer {key}".encode())]
        app, body = meter.wrap(FakeModel(output_tokens=64)), json.dumps(chat).encode()
        path = "/v1/chat/completions"
        answer = await asked(app, "POST", path, headers, body)
        await meter.stop()
        return answer[b"x-usage-cost-usd"]

    if anyio.run(call) != b"0.0001426":  # 3 at $0.60 and 64 at $2.20 a million
        raise RuntimeError("another charge")


def command():
    """Run a command at a terminal."""
    sys.argv = ["metering", "check", "preset:friendli"]
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
    "core": [called, lambda: called('[storage]\nlimits = "sqlite:///limits.db"')],
}


def told(use):
    """Say what became of a use."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            use()
    except BaseException as error:  # noqa: BLE001 - a command ends with SystemExit
        return f"{error}{said.getvalue()}"
    return "works"


if __name__ == "__main__":
    uses = {extra: [told(use) for use in USES[extra]] for extra in sys.argv[1:]}
    sys.stdout.write(json.dumps(uses))
