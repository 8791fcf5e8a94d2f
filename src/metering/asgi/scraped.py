"""The app that shows a page of metrics to whoever scrapes it."""

from collections.abc import Awaitable, Callable

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from metering.errors import ConfigurationError
from metering.observing import Observers, ServiceState

__all__ = ["metrics_app"]

Look = Callable[[], Awaitable[ServiceState]]


def metrics_app(observers: Observers, look: Look) -> ASGIApp:
    """Return the app that shows Prometheus what the observers are told of from now on.

    Raises:
        ConfigurationError: The package for it is not installed.
    """
    try:
        from metering.exports.prometheus import Prometheus  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            f"Metrics need a package that is not installed ({error.name}):"
            " pip install 'asgi-metering[prometheus]'."
        ) from error
    exporter = Prometheus()
    observers.add(exporter)
    return _Scraped(look, exporter.page)


class _Scraped:
    """Answers GET on any path with the page of the moment.

    Args:
        look: Looks at the service.
        page: Given that, and what the client accepts, returns the page and its type.
            It is called in a thread: a large page takes a while.
    """

    def __init__(
        self,
        look: Look,
        page: Callable[[ServiceState, str], tuple[bytes, str]],
    ) -> None:
        self._look = look
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            response = await self._answer(Request(scope))
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return PlainTextResponse("GET it.", 405, {"allow": "GET, HEAD"})
        state = await self._look()
        accepted = request.headers.get("accept", "")
        content, kind = await to_thread.run_sync(self._page, state, accepted)
        return Response(content, headers={"content-type": kind})
