"""The routes of the API: each request is signed in, read strictly and answered."""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from metering.console.api.endpoints import ENDPOINTS, Endpoint
from metering.console.api.openapi import document
from metering.console.problems import ProblemError
from metering.console.services import Services, viewer_of
from metering.errors import ConfigurationError

__all__ = ["api_routes"]

BODY_BYTES_MAX = 64 * 1024

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def api_routes(services: Services, *, version: str) -> list[Route]:
    """Return the routes.

    Args:
        services: What they stand on.
        version: Of this library, as its document says.
    """
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint

    async def openapi(request: Request) -> Response:
        mounted_at = request.scope.get("root_path", "")
        return _json(document(ENDPOINTS, version=version, mounted_at=mounted_at))

    routes = [Route("/openapi.json", openapi)]
    routes += [_route(path, serving, services) for path, serving in by_path.items()]
    return routes


def _route(path: str, serving: Mapping[str, Endpoint], services: Services) -> Route:
    async def serve(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = serving[method]
        await _ready(services)
        viewer = await viewer_of(request, services)
        if endpoint.operator:
            viewer.require_operator()
        asked = _query(request, endpoint.query)
        if endpoint.body is not None:
            asked = await _body(request, endpoint.body)
        return _json(await endpoint.run(services, viewer, asked))

    return Route(path, serve, methods=list(serving))


async def _ready(services: Services) -> None:
    try:
        await services.ready()
    except ConfigurationError as error:
        # What is wrong is the service's plan, and no fault of the request.
        raise RuntimeError(str(error)) from error


def _query(request: Request, members: type[msgspec.Struct]) -> msgspec.Struct:
    pairs = request.query_params.multi_items()
    written = dict(pairs)
    if len(written) < len(pairs):
        raise ProblemError(
            "invalid_request", "The query says something twice. Say it once."
        )
    try:
        return msgspec.convert(written, members, strict=False)
    except msgspec.ValidationError as error:
        allowed = ", ".join(members.__struct_fields__) or "nothing"
        raise ProblemError(
            "invalid_request",
            f"The query cannot be used: {error}. It may have: {allowed}.",
        ) from None


async def _body(request: Request, members: type[msgspec.Struct]) -> msgspec.Struct:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(
            "not_json",
            f"The body is {kind[:80]!r}. Send JSON, and content-type application/json.",
        )
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise ProblemError(
                "body_too_large", f"The body is longer than {BODY_BYTES_MAX:,} bytes."
            )
    try:
        return msgspec.json.decode(body, type=members)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        allowed = ", ".join(members.__struct_fields__)
        raise ProblemError(
            "invalid_request",
            f"The body cannot be used: {error}. It may have: {allowed}.",
        ) from None


def _json(answer: object) -> Response:
    content = msgspec.json.encode(answer)
    return Response(content, headers=_HEADERS, media_type="application/json")
