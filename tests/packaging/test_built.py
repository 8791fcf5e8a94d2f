"""What the sdist and the wheel hold."""

import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "metering"
NEEDED = {
    "backends/redis/acquire.lua",
    "backends/sql/migrations/versions/0001_first_tables.py",
    "cli/starter.toml",
    "console/pages/templates/layout.html",
    "exports/invoice.html",
    "presets/friendli.toml",
    "py.typed",
}


def contents(wheel):
    """Return the names of a wheel's files within the package."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name.removeprefix("metering/")
            for name in archive.namelist()
            if name.startswith("metering/")
        }


def metadata(wheel):
    """Return what an index would tell of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def test_the_wheel_holds_the_whole_package(wheel):
    """Templates, presets, scripts of the store, migrations, and the mark of types."""
    in_tree = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert in_tree == contents(wheel)
    assert in_tree >= NEEDED


def test_the_wheel_of_the_sdist_is_that_of_the_tree(wheel, tree_wheel):
    """Nothing that the package needs is left out of the sdist."""
    assert contents(tree_wheel) == contents(wheel)


def test_what_an_index_is_told(wheel):
    """The versions of Python are those that it is tried on; nothing links nowhere."""
    told = metadata(wheel)
    versions = [
        word.rpartition(" ")[2]
        for word in told.get_all("Classifier")
        if word.startswith("Programming Language :: Python :: 3.")
    ]

    assert (">=3.11", ["3.11", "3.12", "3.13"]) == (told["Requires-Python"], versions)
    assert "Apache-2.0" == told["License-Expression"]
    assert told.get_all("Project-URL") is None


def test_all_is_every_extra(wheel):
    """`asgi-metering[all]` leaves none out."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (every,) = extras.pop("all")

    assert f"asgi-metering[{','.join(sorted(extras))}]" == every
    assert {*extras, "all"} == set(metadata(wheel).get_all("Provides-Extra"))
