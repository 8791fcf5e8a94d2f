"""Builds what would be published, and installs it where nothing else is."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180
"""The first run on a machine also fetches what is installed."""


def pytest_collection_modifyitems(items):
    """Give tests of this folder the time that a package index takes."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(PATIENCE_S))


def uv(*arguments):
    """Run uv, which takes the Pythons that are here and fetches none."""
    ran = subprocess.run(
        (find_uv_bin(), *map(str, arguments)),
        env=os.environ | {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == ran.returncode, ran.stderr


@pytest.fixture(scope="session")
def dist(tmp_path_factory):
    """The folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--python", sys.executable, ROOT, "--out-dir", folder)
    return folder


@pytest.fixture(scope="session")
def wheel(dist):
    """The wheel that was built from the sdist."""
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def tree_wheel(tmp_path_factory):
    """The wheel that is built from the tree, without an sdist."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--python", sys.executable, "--wheel", ROOT, "--out-dir", folder)
    (found,) = folder.glob("*.whl")
    return found


class Environment:
    """An environment in which the wheel is, and what it needs, and nothing else."""

    def __init__(self, folder):
        self.folder = folder
        self.empty = folder / "empty"
        self.empty.mkdir()
        self._bin = folder / "env" / "bin"

    def python(self, *arguments):
        """Run Python in an empty folder; return all that it said."""
        ran = subprocess.run(
            (self.program("python"), "-W", "error", *arguments),
            cwd=self.empty,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return ran.stdout

    def program(self, name):
        """Return the path of a program."""
        return str(self._bin / name)


@pytest.fixture(scope="session")
def install(wheel, tmp_path_factory):
    """Return a function that installs the wheel for a Python where nothing else is."""

    def install(python):
        made = Environment(tmp_path_factory.mktemp("installed"))
        uv("venv", "--python", python, made.folder / "env")
        uv("pip", "install", "--python", made.program("python"), wheel)
        return made

    return install


@pytest.fixture(scope="session")
def core(install):
    """The wheel without extras, on the running Python."""
    made = install(sys.executable)
    made.python(str(Path(__file__).with_name("extra_uses.py")), "core")
    return made


@pytest.fixture(scope="session")
def with_extra(core, wheel, tmp_path_factory):
    """Return a function that adds an extra, or a package, to what the core has.

    It does so in a copy, which has what Python has compiled of the core.
    """

    def add(extra="", *beside):
        made = Environment(tmp_path_factory.mktemp("installed"))
        there = made.folder / "env"
        copytree(core.folder / "env", there, symlinks=True, copy_function=os.link)
        wanted = f"{wheel}[{extra}]" if extra else wheel
        uv("pip", "install", "--python", made.program("python"), wanted, *beside)
        return made

    return add
