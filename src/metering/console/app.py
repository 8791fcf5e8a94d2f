"""The app to mount: the JSON API, the pages, and what is answered to bad requests."""

from importlib.util import find_spec

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from metering.console.api.app import api_routes
from metering.console.problems import ProblemError, answer_problem
from metering.console.services import Services
from metering.errors import MeteringError

__all__ = ["console_app"]

_NO_PAGES = (
    "The pages of the console need Jinja2, and the API beside them does not:"
    " pip install 'asgi-metering[console]'\n"
)


def console_app(services: Services, *, version: str) -> Starlette:
    """Return the app.

    Args:
        services: What it stands on.
        version: Of this library.
    """
    api, pages, answer = api_routes(services, version=version), [], answer_problem
    if find_spec("jinja2") is None:
        pages = [Route("/", _no_pages)]
    else:
        # Only where it is installed: the pages cannot be imported without Jinja2.
        from metering.console.pages.answering import answer_wrong  # noqa: PLC0415
        from metering.console.pages.app import page_routes  # noqa: PLC0415

        pages, answer = page_routes(services), answer_wrong
    app = Starlette(
        routes=[*api, *pages],
        exception_handlers={
            ProblemError: answer,
            MeteringError: answer,
            HTTPException: answer,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _no_pages(_: Request) -> Response:
    return PlainTextResponse(_NO_PAGES, 503)
