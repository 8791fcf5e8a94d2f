"""The wheel where nothing else is: on each Python, and with each extra alone."""

import json
import subprocess
import sys

import pytest

import metering

NOT_AT_ONCE = {
    *("aiocache", "alembic", "hypothesis", "httpx", "jinja2", "limits", "mako", "nats"),
    *("openai", "opentelemetry", "prometheus_client", "psycopg", "pytest", "redis"),
    *("sqlalchemy", "sqlite3", "typer", "uvicorn", "fastapi"),
}
"""What is loaded when somebody needs it: it costs more than all that is."""

LOADED = """
import json, sys
from metering import Metering
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""

STAR = """
from metering import *
print(sorted(name for name in dir() if not name.startswith("__")))
"""

MODULES = """
import sys
before = set(sys.modules)
import metering
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before}
             - sys.stdlib_module_names))
"""

USES = """
import contextlib, io, json, sys
from importlib import import_module

import anyio
import metering
from metering.config import load_plan, preset_text
from metering.exports.printable import invoice_html
from metering.ledger import Invoice

def made(*lines):
    text = "\\n".join((preset_text("friendli"), *lines))
    return metering.Metering(load_plan(text, source="plan.toml"))

def lived(*lines):
    meter = made(*lines)
    async def live():
        await meter.start()
        await meter.stop()
    anyio.run(live)

def paper():
    return invoice_html(Invoice(
        id="1", account_id="acme", period="2026-01", start_ns=0, end_ns=1, closed_ns=2,
        lines=(), total_cents=0, residual_p=0,
    ))

def told(use):
    try:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            eval(use)
    except BaseException as error:
        return f"{error}{said.getvalue()}"
    return "works"

def command():
    sys.argv = ["metering", "check", "preset:friendli"]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            import_module("metering.cli").main()
        except SystemExit as ended:
            if ended.code:
                raise
"""

USE_OF = {
    "cli": "command()",
    "console": "paper()",
    "demo": 'import_module("metering.demo.__main__")',
    "engine": 'metering.PrometheusGauges("http://127.0.0.1:1/metrics")',
    "nats": """lived("[events]", 'nats = "nats://127.0.0.1:1"')""",
    "otel": "metering.OpenTelemetry()",
    "postgres": """made("[storage]", 'ledger = "postgresql://127.0.0.1:1/none"')""",
    "prometheus": "made().metrics()",
    "redis": """made("[storage]", 'limits = "redis://127.0.0.1:1"')""",
    "webhooks": """lived("[[webhooks]]", 'url = "http://127.0.0.1:1/"',
        'secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="')""",
}
CODINGS = """
from metering.asgi.codings import open_decoder
print([coding for coding in (b"br", b"zstd") if open_decoder(coding, bytes)])
"""
OWN_TEST = """
def test_it(metering, metering_clock):
    assert metering.plan.name == "friendli"
"""


def test_import_loads_nothing_else():
    """`import metering` takes modules of Python and its own, whatever is installed."""
    ran = subprocess.run(
        (sys.executable, "-c", MODULES), capture_output=True, text=True, check=True
    )

    assert "['metering']\n" == ran.stdout


def test_what_metering_loads_at_once():
    """No database, no client and no tool is loaded before it is needed."""
    ran = subprocess.run(
        (sys.executable, "-c", LOADED), capture_output=True, text=True, check=True
    )

    assert set() == NOT_AT_ONCE & set(json.loads(ran.stdout))


def test_the_core_on_each_python(install, each_python):
    """All that `import *` promises is there, and a service lives and ends."""
    core = install(each_python)

    assert f"{sorted(metering.__all__)}\n" == core.python(STAR)
    assert "works\n" == core.python(f"{USES}\nprint(told('lived()'))")


def test_what_is_missing_is_named(core):
    """Each use of an extra that is not there says what to install."""
    said = json.loads(
        core.python(
            f"{USES}\nprint(json.dumps({{k: told(u) for k, u in {USE_OF}.items()}}))"
        )
    )

    assert set(USE_OF) == {
        extra for extra, words in said.items() if f"asgi-metering[{extra}]" in words
    }, said


@pytest.mark.parametrize("extra", USE_OF)
def test_each_extra_is_enough_for_its_use(with_extra, extra):
    alone = with_extra(extra)

    assert "works\n" == alone.python(f"{USES}\nprint(told({USE_OF[extra]!r}))")


def test_codings_of_bodies(with_extra, core):
    """Two of them take an extra; without it they are refused, not guessed at."""
    assert "[]\n" == core.python(CODINGS)
    assert "[b'br', b'zstd']\n" == with_extra("compression").python(CODINGS)


def test_the_plugin_of_pytest_takes_no_extra(with_extra):
    """Where only the core and pytest are, pytest starts, and its fixtures are there."""
    beside = with_extra("", "pytest")
    (beside.empty / "test_own.py").write_text(OWN_TEST)
    ran = beside.run("python", "-m", "pytest", "-q", "-W", "error")

    assert "1 passed" in ran.stdout, ran.stdout
