"""The page to sign in by, and signing out."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from metering.console.pages.answering import answer, frame_of, goto
from metering.console.pages.forms import read_form
from metering.console.pages.security import (
    cookie_of,
    drop_cookie,
    safe_next,
    set_cookie,
)
from metering.console.pages.sessions import (
    SESSION_S,
    new_token,
    sign_in,
    sign_out,
    signed_in,
)
from metering.console.pages.table import OPERATOR_HOME, PAGES
from metering.console.services import Services, Viewer

__all__ = ["HOME", "LOGIN", "log_in", "log_out"]

HOME = "/"
LOGIN = "/login"

_PATHS = frozenset(page.path for page in PAGES)


async def log_in(request: Request, services: Services) -> Response:
    """Show the form to sign in by, or sign in by what it sends."""
    token = cookie_of(request)
    viewer = await signed_in(services, token)
    if request.method != "POST":
        if viewer is not None:
            return goto(request, _home(viewer))
        return _form(request, token, refused=False)
    fields = dict(await read_form(request, token))
    begun = await sign_in(services, fields.get("secret", ""))
    if begun is None:
        return _form(request, token, refused=True)
    if token is not None and viewer is not None:
        await sign_out(services, token)
    fresh, viewer = begun
    wanted = safe_next(request.query_params.get("next", ""), _PATHS)
    response = goto(request, wanted or _home(viewer))
    set_cookie(request, response, fresh, seconds=SESSION_S)
    return response


async def log_out(request: Request, services: Services) -> Response:
    """End the session."""
    token = cookie_of(request)
    await read_form(request, token)
    if token is not None:
        await sign_out(services, token)
    response = goto(request, LOGIN)
    drop_cookie(request, response)
    return response


def _form(request: Request, token: str | None, *, refused: bool) -> Response:
    # Who is not signed in has a token as well, for the form to be bound to.
    shown = new_token() if token is None else token
    response = answer(
        "login.html",
        frame_of(request, token=shown),
        {"refused": refused, "next": request.query_params.get("next", "")},
        status=HTTPStatus.UNAUTHORIZED if refused else HTTPStatus.OK,
    )
    if token is None:
        set_cookie(request, response, shown, seconds=None)
    return response


def _home(viewer: Viewer) -> str:
    return OPERATOR_HOME if viewer.account_id is None else HOME
