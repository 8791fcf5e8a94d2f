"""Pictures of the console for the documentation: `make screenshots`.

The pages are opened as they are, over months of a small service; two pictures of each,
in light and dark.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import anyio
import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from metering.demo.months import NOW_NS, live_through
from metering.demo.serve import serve

OPERATOR = "an-operator-signs-in-by-this-token-alone"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HEIGHT_MAX = 1600
INVOICE = "northwind-2026-05"


class Shot(NamedTuple):
    """A page to be shown.

    Attributes:
        name: Of the files, without scheme and suffix.
        by: Who looks: "northwind" or "operator".
        path: Of the page.
        height: How much of it is seen, in pixels; 0: all.
        query: What it is asked.
    """

    name: str
    by: str
    path: str
    height: int = 0
    query: tuple[tuple[str, str], ...] = ()


SHOTS = (
    Shot("console-usage", "northwind", "/usage", 820),
    Shot("console-requests", "northwind", "/requests", 700),
    Shot("console-invoice", "northwind", "/invoice", query=(("id", INVOICE),)),
    Shot("console-home", "operator", "/home", 1100),
    Shot("console-platform", "operator", "/platform", 650, (("over", "day"),)),
)
AFTER_CALLS = (Shot("console-overview", "northwind", "/", 860),)
CALLS = 400


def take(
    browser: Browser,
    root: str,
    secrets: dict[str, str],
    shots: Sequence[Shot],
    folder: Path,
) -> None:
    """Write two pictures of each page."""
    for scheme in ("light", "dark"):
        for by in dict.fromkeys(shot.by for shot in shots):
            context = browser.new_context(
                color_scheme=scheme,
                viewport={"width": 1280, "height": 800},
                reduced_motion="reduce",
            )
            with closing(context):
                page = context.new_page()
                page.goto(f"{root}/login")
                page.get_by_label("API key").fill(secrets[by])
                page.get_by_role("button", name="Sign in").click()
                page.get_by_role("button", name="Sign out").wait_for()
                for shot in shots:
                    if shot.by == by:
                        page.goto(f"{root}{shot.path}?{urlencode(shot.query)}")
                        picture(page, shot, folder / f"{shot.name}-{scheme}.png")


def picture(page: Page, shot: Shot, path: Path) -> None:
    """Write what is seen of a page."""
    whole = page.evaluate("document.documentElement.scrollHeight")
    height = min(shot.height or HEIGHT_MAX, whole)
    page.set_viewport_size({"width": 1280, "height": height})
    page.screenshot(path=path)


def call(url: str, key: str) -> None:
    """Make calls, so that something of the limits is used."""
    question = [{"role": "user", "content": "How many bees live in one hive?"}]
    body = {"model": "meta-llama/Llama-3.1-8B-Instruct", "messages": question}
    with httpx.Client(headers={"authorization": f"Bearer {key}"}) as client:
        for _ in range(CALLS):
            answer = client.post(f"{url}/v1/chat/completions", json=body)
            answer.raise_for_status()


def main() -> None:
    """Live through the months, serve them, and take the pictures."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path)
    folder = asked.parse_args().folder
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.exit("There is no Chromium here. Debian: apt-get install chromium.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        keys = anyio.run(live_through, Path(data))
        with (
            serve(Path(data), start_ns=NOW_NS, operator_token=OPERATOR) as service,
            sync_playwright() as playwright,
            closing(
                playwright.chromium.launch(
                    executable_path=program, args=["--no-sandbox"]
                )
            ) as browser,
        ):
            secrets = {"northwind": keys["northwind"], "operator": OPERATOR}
            root = f"{service.url}/console"
            take(browser, root, secrets, SHOTS, folder)
            call(service.url, keys["northwind"])
            take(browser, root, secrets, AFTER_CALLS, folder)
    for path in sorted(folder.glob("console-*.png")):
        sys.stdout.write(f"{path} {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
