"""The app to mount: the JSON API, and what is answered where something is wrong."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from metering.console.api.app import api_routes
from metering.console.problems import ProblemError, answer_problem
from metering.console.services import Services
from metering.errors import MeteringError

__all__ = ["console_app"]


def console_app(services: Services, *, version: str) -> Starlette:
    """Return the app.

    Args:
        services: What it stands on.
        version: Of this library.
    """
    app = Starlette(
        routes=api_routes(services, version=version),
        exception_handlers={
            ProblemError: answer_problem,
            MeteringError: answer_problem,
            HTTPException: answer_problem,
        },
    )
    app.router.redirect_slashes = False
    return app
