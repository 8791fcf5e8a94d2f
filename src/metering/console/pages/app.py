"""The routes of the pages: each request is signed in, read, and answered in the frame.

A page is added by one function, one template and one row:

1. The function, in a module of its group, is given a `Look` and what the query says. It
   asks the functions of the API and returns what its template is given.
2. The template, named after the path, extends `layout.html` and fills its `content`.
3. The row of `PAGES` in `table.py` says whose rows it shows, the path, the title, and
   what its query and its form may have. What is an operator's is shown to operators
   alone, whatever the function does.

Tests go through the table: a new page is held to all rules without a line more.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from metering.console.api.asked import OwnedQuery
from metering.console.lane import in_thread
from metering.console.pages.answering import VIEWER, answer, frame_of, goto
from metering.console.pages.forms import asked, read_form
from metering.console.pages.page import Goto, Look, Page, Sent, Wrong
from metering.console.pages.rendering import STATIC
from metering.console.pages.security import PAGE_HEADERS, cookie_of
from metering.console.pages.sessions import signed_in
from metering.console.pages.signing import HOME, LOGIN, log_in, log_out
from metering.console.pages.table import OPERATOR_HOME, PAGES
from metering.console.problems import ProblemError
from metering.console.services import Services
from metering.errors import ConfigurationError

__all__ = ["page_routes"]

_Serve = Callable[[Request, Services], Awaitable[Response]]

_FOREVER = {
    "cache-control": "public, max-age=31536000, immutable",
    "x-content-type-options": "nosniff",
}


def page_routes(services: Services) -> list[Route]:
    """Return the routes; what is wrong is raised, see `answer_wrong`.

    Args:
        services: What pages stand on.
    """

    def route(path: str, serve: _Serve, *methods: str) -> Route:
        async def begin(request: Request) -> Response:
            try:
                await services.ready()
            except ConfigurationError as error:
                # What is wrong is the service's plan, and no fault of the request.
                raise RuntimeError(str(error)) from error
            return await serve(request, services)

        return Route(path, begin, methods=list(methods))

    routes = [
        Route("/static/{digest}/{name}", _static),
        route(LOGIN, log_in, "GET", "POST"),
        route("/logout", log_out, "POST"),
    ]
    for page in PAGES:
        methods = ("GET",) if page.act is None else ("GET", "POST")
        routes.append(route(page.path, partial(_serve, page), *methods))
    return routes


async def _serve(page: Page, request: Request, services: Services) -> Response:
    """Answer a request for a page of the table."""
    token = cookie_of(request)
    viewer = await signed_in(services, token)
    if viewer is None:
        return _ask_to_sign_in(request, page)
    request.scope[VIEWER] = viewer
    if page.owner == "operator":
        viewer.require_operator()
    query, account = asked(request.query_params.multi_items(), page.query), None
    if isinstance(query, OwnedQuery):
        of_all = viewer.account_id is None and query.account is None
        if of_all and page.owner != "anybody":
            return goto(request, OPERATOR_HOME)
        if not of_all:
            account = await in_thread(services.ledger.get, viewer.sees(query.account))
    look = Look(
        services=services, viewer=viewer, account=account, now_ns=services.clock()
    )
    frame = frame_of(request, page=page, viewer=viewer, account=account)
    became, status = {}, HTTPStatus.OK
    if request.method == "POST" and page.act is not None:
        fields = await read_form(request, token)
        outcome = await page.act(look, asked(fields, page.form))
        if isinstance(outcome, Goto):
            target = frame.link(outcome.path, **outcome.query)
            return RedirectResponse(target, 303, PAGE_HEADERS)
        if isinstance(outcome, Wrong):
            became, status = dict(outcome.shown), HTTPStatus.UNPROCESSABLE_ENTITY
        else:
            became = dict(outcome)
    shown = await page.show(look, query)
    if isinstance(shown, Sent):
        return _send(shown)
    return answer(page.template, frame, {**shown, **became}, status=status)


def _send(file: Sent) -> Response:
    """Answer with a file to be kept."""
    kept_as = f"attachment; filename*=utf-8''{quote(file.name, safe='')}"
    headers = PAGE_HEADERS | {"content-disposition": kept_as}
    return Response(file.content, headers=headers, media_type=file.media_type)


def _ask_to_sign_in(request: Request, page: Page) -> Response:
    if request.method == "POST":
        return goto(request, LOGIN)
    query = request.scope["query_string"].decode("latin-1")
    back = f"{page.path}?{query}" if query else page.path
    return goto(request, LOGIN if back == HOME else f"{LOGIN}?next={quote(back)}")


async def _static(request: Request) -> Response:
    """Answer with a file that pages load."""
    file = STATIC.get(request.path_params["name"])
    if file is None or file.digest != request.path_params["digest"]:
        raise ProblemError("not_found", "There is no such file. Load the page again.")
    return Response(file.content, headers=_FOREVER, media_type=file.media_type)
