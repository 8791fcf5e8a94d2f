"""The site is built from all pages, finds all it names, and needs no other host."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import metering
import metering.exports
import metering.testing

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference" / "api"
LOADED = re.compile(
    r"""<(?:script|img|iframe|link|source)\b[^>]*?\b(?:src|href|srcset)="([^"]+)"
    |url\(["']?([^"')]+) | @import\s+["']([^"']+)""",
    re.VERBOSE,
)


@pytest.mark.timeout(120)  # All modules are imported and all pages written: some 8 s.
def test_all_that_pages_name_is_found_and_nothing_is_asked_of_other_hosts(tmp_path):
    """No broken link, anchor or name in a signature, and no page outside the menu."""
    site = tmp_path / "site"
    command = (sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going")
    built = subprocess.run(
        (*command, "--quiet", "-d", tmp_path / "read", DOCS, site),
        capture_output=True,
        text=True,
        check=False,
    )
    pages = list(site.rglob("*.html"))
    loaded = {
        next(filter(None, found))
        for page in (*pages, *site.rglob("*.css"))
        for found in LOADED.findall(page.read_text(encoding="utf-8"))
    }

    assert "" == built.stderr
    assert 0 == built.returncode
    assert {path.stem for path in DOCS.rglob("*.md")} <= {path.stem for path in pages}
    assert "_static/styles/furo.css" in {url.partition("?")[0] for url in loaded}
    assert [] == [url for url in loaded if re.match(r"(https?:)?//", url)]


@pytest.mark.parametrize("module", [metering, metering.testing, metering.exports])
def test_each_public_name_is_in_the_reference(module):
    text = "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE.iterdir())
    told = re.findall(rf"^\.\. auto\w+:: {module.__name__}\.(\w+)$", text, re.MULTILINE)
    values = {name for name in module.__all__ if name.isupper()}

    assert sorted(set(module.__all__) - values) == sorted(
        name for name in told if name in module.__all__
    )
