"""What is answered where something is wrong: problem details (RFC 9457)."""

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from metering.errors import (
    AccountNotFoundError,
    ConfigurationError,
    LedgerError,
    MeteringError,
    StorageError,
)
from metering.log import Log

__all__ = [
    "STATUS_BY_PROBLEM",
    "Problem",
    "ProblemError",
    "answer_problem",
    "problem_of",
]

STATUS_BY_PROBLEM = {
    "invalid_request": 400,
    "not_signed_in": 401,
    "not_allowed": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "contradiction": 409,
    "body_too_large": 413,
    "not_json": 415,
    "storage_unavailable": 503,
}

_CODE_BY_STATUS = {status: code for code, status in STATUS_BY_PROBLEM.items()}
_CODE_BY_ERROR: dict[type[MeteringError], str] = {
    AccountNotFoundError: "not_found",
    ConfigurationError: "invalid_request",
    LedgerError: "contradiction",
}
_RETRY_AFTER_S = 1
_AWAY = "The ledger does not answer just now. Try again in a moment."

_log = Log()


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, and the way on.

    Attributes:
        type: "about:blank": the code tells more.
        title: The status in words.
        status: The status.
        detail: What happened, with the value, and the fix.
        code: A key of `STATUS_BY_PROBLEM`.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def problem_of(request: Request, error: Exception) -> tuple[Problem, dict[str, str]]:
    """Return what is wrong with a request, and headers that its answer has.

    Raises:
        Exception: The error itself, where it is no fault that can be told.
    """
    headers: dict[str, str] = {}
    if isinstance(error, ProblemError):
        code, detail = error.code, error.detail
    elif isinstance(error, StorageError):
        # It names hosts and files, and is told to whoever asks, signed in or not.
        _log.error("console_not_served", path=request.scope["path"], reason=str(error))
        code, detail = "storage_unavailable", _AWAY
        headers["retry-after"] = str(_RETRY_AFTER_S)
    elif isinstance(error, MeteringError):
        code = next(
            (code for kind, code in _CODE_BY_ERROR.items() if isinstance(error, kind)),
            "invalid_request",
        )
        detail = str(error)
    elif isinstance(error, HTTPException) and error.status_code in _CODE_BY_STATUS:
        code = _CODE_BY_STATUS[error.status_code]
        detail = _detail(request, code)
        headers |= error.headers or {}
    else:
        raise error
    if code == "not_signed_in":
        headers["www-authenticate"] = "Bearer"
    status = STATUS_BY_PROBLEM[code]
    title = HTTPStatus(status).phrase
    return Problem(title=title, status=status, detail=detail, code=code), headers


async def answer_problem(request: Request, error: Exception) -> Response:
    """Return the answer to a request that cannot be served."""
    problem, headers = problem_of(request, error)
    return Response(
        msgspec.json.encode(problem),
        problem.status,
        headers | {"cache-control": "no-store"},
        media_type="application/problem+json",
    )


def _detail(request: Request, code: str) -> str:
    if code == "method_not_allowed":
        return f"{request.method} is not for this path. `allow` names what is."
    return "There is nothing at this path. The document openapi.json names all paths."
