"""What a page is, and what its functions are given."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec

from metering.accounts import Account
from metering.console.api.asked import OwnedQuery
from metering.console.services import Services, Viewer

__all__ = ["Act", "Answer", "Goto", "Look", "NoForm", "Page", "Sent", "Show", "Wrong"]

_Owned = TypeVar("_Owned", bound=OwnedQuery)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Who looks at a page, and at whose.

    Attributes:
        services: What the page stands on.
        viewer: Who looks.
        account: Whose page it is; None: nobody's, an operator looks at all.
        now_ns: When they look.
    """

    services: Services
    viewer: Viewer
    account: Account | None
    now_ns: int

    @property
    def owner(self) -> Account:
        """Whose page it is, of a page that is an account's."""
        assert self.account is not None  # noqa: S101 - pages of accounts have one
        return self.account

    def asked(self, kind: type[_Owned], **members: object) -> _Owned:
        """Return what the API is asked for the owner's rows."""
        return kind(account=self.owner.id, **members)


@dataclass(frozen=True, slots=True)
class Goto:
    """Where a form leads: a page, with what its query has.

    Attributes:
        path: Of a page.
        query: What it is asked; whose it is need not be said.
    """

    path: str
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A form that cannot be done as it is: the page again, with what is wrong in it.

    Attributes:
        shown: What the template is given besides.
    """

    shown: "Answer"


@dataclass(frozen=True, slots=True)
class Sent:
    """A file to be kept, in place of a page.

    Attributes:
        name: What it is called.
        media_type: Of what kind it is.
        content: What is in it.
    """

    name: str
    media_type: str
    content: str


class NoForm(msgspec.Struct, frozen=True):
    """A form without fields, such as a button."""


Answer = Mapping[str, object]
"""What the template of a page is given."""

Show = Callable[[Look, Any], Awaitable[Answer | Sent]]
Act = Callable[[Look, Any], Awaitable[Answer | Goto | Wrong]]


@dataclass(frozen=True, slots=True)
class Page:
    """A row of the table of pages.

    Attributes:
        owner: Whose rows it shows: those of one account; to operators alone, what is
            everybody's, or one account from their side; or those of anybody: an
            account's to itself, and all to an operator who names none.
        path: Beneath where the console is mounted.
        title: Its heading, and what leads to it in the navigation.
        query: What it may be asked; of an account's rows, an `OwnedQuery`.
        show: Returns what its template is given, or a file in its place.
        form: What its form sends.
        act: Does what the form asks for; None: it has no form. It returns where to go
            on, or what the template is given besides, to show what became of it or is
            wrong with it.
        part_of: Path of the page that it belongs to, which the navigation marks in its
            place; "": it is in the navigation itself.
    """

    owner: Literal["account", "operator", "anybody"]
    path: str
    title: str
    query: type[msgspec.Struct]
    show: Show
    form: type[msgspec.Struct] = field(default=NoForm, kw_only=True)
    act: Act | None = field(default=None, kw_only=True)
    part_of: str = field(default="", kw_only=True)

    @property
    def template(self) -> str:
        """The file that it is written by, named after its path."""
        name = self.path.strip("/").replace("/", "_") or "overview"
        return f"{name}.html"

    @property
    def of_account(self) -> bool:
        """Whether it is about one account."""
        return issubclass(self.query, OwnedQuery)
