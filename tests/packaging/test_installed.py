"""The wheel where nothing else is: on each Python, and with each extra alone."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import metering

ROOT = Path(__file__).parents[2]
EXTRAS = sorted(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
)
USES = str(Path(__file__).with_name("extra_uses.py"))
NOT_AT_ONCE = {
    *("aiocache", "alembic", "hypothesis", "httpx", "jinja2", "limits", "mako", "nats"),
    *("openai", "opentelemetry", "prometheus_client", "psycopg", "pytest", "redis"),
    *("sqlalchemy", "sqlite3", "typer", "uvicorn", "fastapi"),
}
"""What is loaded when somebody needs it: it costs more than all that is."""

LOADED = """
import sys
before = set(sys.modules)
{imported}
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}))
"""
STAR = """
from metering import *
print(sorted(name for name in dir() if not name.startswith("__")))
"""
OWN_TEST = """
def test_it(metering, metering_clock):
    assert metering.plan.name == "friendli"
"""


def loaded(imported):
    """Return the packages that an import loads, where all of them are."""
    source = LOADED.format(imported=imported)
    ran = subprocess.run(
        (sys.executable, "-c", source), capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


def test_import_loads_nothing_else():
    """`import metering` takes modules of Python and its own, whatever is installed."""
    assert {"metering"} == loaded("import metering") - sys.stdlib_module_names


def test_what_metering_loads_at_once():
    """No database, no client and no tool is loaded before it is needed."""
    assert set() == NOT_AT_ONCE & loaded("from metering import Metering")


def test_the_core_on_each_python(install, each_python):
    """All that `import *` promises is there; calls are served and charged."""
    core = install(each_python)

    assert f"{sorted(metering.__all__)}\n" == core.python("-c", STAR)
    assert {"core": ["works"] * 2} == json.loads(core.python(USES, "core"))


def test_what_is_missing_is_named(core):
    """Each use of an extra that is not there says what to install.

    A coding of bodies is refused instead, as its client can do without it.
    """
    named = [extra for extra in EXTRAS if extra not in {"all", "compression"}]
    for extra, words in json.loads(core.python(USES, *named)).items():
        for said in words:
            assert f"asgi-metering[{extra}]" in said
    assert {"compression": ["not decoded"]} == json.loads(
        core.python(USES, "compression")
    )


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != "all"])
def test_each_extra_is_enough_for_its_use(with_extra, extra):
    """What it brings works without the others."""
    (told,) = json.loads(with_extra(extra).python(USES, extra)).values()

    assert {"works"} == set(told)


def test_the_plugin_of_pytest_takes_no_extra(with_extra):
    """Where only the core and pytest are, pytest starts, and its fixtures are there."""
    beside = with_extra("", "pytest")
    (beside.empty / "test_own.py").write_text(OWN_TEST)

    assert "1 passed" in beside.python("-m", "pytest", "-q")
