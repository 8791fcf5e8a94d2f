"""Answers to requests for pages: in the frame, or to another page."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from metering.accounts import Account
from metering.console.pages.page import Page
from metering.console.pages.rendering import Frame, render
from metering.console.pages.security import (
    PAGE_HEADERS,
    cookie_of,
    form_token,
    root_of,
)
from metering.console.pages.table import PAGES
from metering.console.problems import answer_problem, problem_of
from metering.console.services import Viewer

__all__ = ["VIEWER", "answer", "answer_wrong", "frame_of", "goto"]

VIEWER = "metering.console.viewer"
"""Where a request's scope says who looks, once that is known."""

_API = ("/v1/", "/openapi.json")
_NO_PAGE = (
    "No page of the console has this address. The link may be old, or not have been"
    " copied whole."
)


def frame_of(
    request: Request,
    *,
    page: Page | None = None,
    viewer: Viewer | None = None,
    account: Account | None = None,
    token: str | None = None,
) -> Frame:
    """Return what stands around a page.

    Args:
        request: What is asked.
        page: What is shown; None: it is none of the table.
        viewer: Who looks; None: nobody who is signed in.
        account: Whose page it is.
        token: What the browser will show; None: what it shows.
    """
    token = token or cookie_of(request)
    return Frame(
        root=root_of(request),
        pages=PAGES,
        page=page,
        viewer=viewer,
        account=account,
        form_token="" if token is None else form_token(token),
    )


def answer(
    template: str,
    frame: Frame,
    shown: Mapping[str, object],
    *,
    status: int = HTTPStatus.OK,
) -> Response:
    """Return a page."""
    return HTMLResponse(render(template, frame, shown), status, PAGE_HEADERS)


def goto(request: Request, target: str) -> Response:
    """Send the browser to a page, given by its path beneath the console."""
    return RedirectResponse(f"{root_of(request)}{target}", 303, PAGE_HEADERS)


async def answer_wrong(request: Request, error: Exception) -> Response:
    """Return what is wrong: a page, and in the API what programs read."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if path.startswith(_API):
        return await answer_problem(request, error)
    problem, headers = problem_of(request, error)
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND:
        problem = msgspec.structs.replace(problem, detail=_NO_PAGE)
    viewer: Viewer | None = request.scope.get(VIEWER)
    shown = {"problem": problem}
    page = answer(
        "problem.html", frame_of(request, viewer=viewer), shown, status=problem.status
    )
    page.headers.update(headers)
    return page
