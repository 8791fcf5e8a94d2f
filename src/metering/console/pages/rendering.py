"""Turns what a page shows into HTML; the one place that knows Jinja2."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from metering.accounts import Account
from metering.console.pages import showing, words
from metering.console.pages.page import Page
from metering.console.services import Viewer

__all__ = ["STATIC", "Frame", "StaticFile", "render"]

_PACKAGE = "metering.console.pages"
_UTC = "UTC"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that never changes under its URL.

    Attributes:
        content: What is in it.
        media_type: Of what kind it is.
        digest: Stands in its URL.
    """

    content: bytes
    media_type: str
    digest: str


_STYLES = (
    "colours",
    "ground",
    "frame",
    "parts",
    "tables",
    "forms",
    "charts",
    "timelines",
    "operating",
    "media",
)
"""Files of `static/styles`, in their order; pages load them as one."""


def _static_file(media_type: str, *names: str) -> StaticFile:
    static = files(_PACKAGE) / "static"
    content = b"\n".join(static.joinpath(name).read_bytes() for name in names)
    return StaticFile(content, media_type, hashlib.sha256(content).hexdigest()[:16])


STATIC: Mapping[str, StaticFile] = {
    "console.css": _static_file(
        "text/css", *(f"styles/{name}.css" for name in _STYLES)
    ),
    "console.js": _static_file("text/javascript", "console.js"),
    "icon.svg": _static_file("image/svg+xml", "icon.svg"),
}
"""All that pages load besides themselves, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What stands around every page.

    Attributes:
        root: Path at which the console is mounted.
        pages: What the navigation lists.
        page: The page that is shown; None: it is none of the table, such as an error.
        viewer: Who looks; None: nobody who is signed in.
        account: Whose page it is.
        form_token: What forms carry.
    """

    root: str
    pages: tuple[Page, ...]
    page: Page | None
    viewer: Viewer | None
    account: Account | None
    form_token: str

    @property
    def operates(self) -> bool:
        """Whether an operator looks."""
        return self.viewer is not None and self.viewer.account_id is None

    @property
    def zone(self) -> str:
        """Where the times of the page are."""
        return _UTC if self.account is None else self.account.time_zone

    @property
    def current(self) -> str:
        """Path of what the navigation marks as the present page."""
        return "" if self.page is None else self.page.part_of or self.page.path

    def listed(self, of: Literal["account", "operator"]) -> list[Page]:
        """Return what the navigation lists.

        Args:
            of: Pages of the account that is looked at, or those of all.
        """
        pages = [page for page in self.pages if not page.part_of]
        if of == "account":
            mine = {"account", "anybody", "operator" if self.operates else ""}
            return [page for page in pages if page.of_account and page.owner in mine]
        return [
            page for page in pages if page.owner == "anybody" or not page.of_account
        ]

    def link(self, path: str, **query: object) -> str:
        """Return the URL of a page; it stays at the account that is looked at.

        Args:
            path: Of a page.
            **query: What it is asked; what is None or "" is left out.
        """
        if self.operates and self.account is not None:
            query = {"account": self.account.id} | query
        told = {name: value for name, value in query.items() if value not in {None, ""}}
        return f"{self.root}{path}" + (f"?{urlencode(told)}" if told else "")

    def static(self, name: str) -> str:
        """Return the URL of a file."""
        return f"{self.root}/static/{STATIC[name].digest}/{name}"

    def when(self, instant: str) -> showing.When:
        """Return an instant in the zone of the page."""
        return showing.when(instant, self.zone)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for module in (showing, words):
        environment.globals |= {name: getattr(module, name) for name in module.__all__}
    return environment


def render(template: str, frame: Frame, shown: Mapping[str, object]) -> str:
    """Return a page.

    Args:
        template: The name of its file.
        frame: What stands around it.
        shown: What it shows.
    """
    return _environment().get_template(template).render(frame=frame, **shown)
