"""What keeps pages from being framed, forged, cached, or fed with foreign scripts."""

import hashlib
import hmac
from collections.abc import Collection
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from metering.console.problems import ProblemError

__all__ = [
    "PAGE_HEADERS",
    "cookie_of",
    "drop_cookie",
    "form_token",
    "refuse_foreign",
    "refuse_forged",
    "root_of",
    "safe_next",
    "set_cookie",
]

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
)

PAGE_HEADERS = {
    "content-security-policy": "; ".join(_POLICY),
    # With "no-referrer" a browser sends its own forms without their origin.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every page, whatever its status."""

_COOKIE = "metering_console"
_TOKEN_CHARS_MAX = 64
_IN_PATHS = "/~!$&'()*+,=:@"


def root_of(request: Request) -> str:
    """Return the path at which the console is mounted, as URLs and cookies have it.

    It ends in no slash: "//login" would be a page of the host "login".
    """
    path = str(request.scope.get("root_path", "")).rstrip("/")
    return quote(path, safe=_IN_PATHS)


def cookie_of(request: Request) -> str | None:
    """Return the token that the browser shows; None: none, or one we never gave out."""
    token = request.cookies.get(_cookie_name(request))
    if not token or len(token) > _TOKEN_CHARS_MAX or not token.isascii():
        return None
    return token


def set_cookie(
    request: Request, response: Response, token: str, *, seconds: int | None
) -> None:
    """Have the browser show a token from now on.

    Args:
        request: Says where the console is mounted, and whether the way is encrypted.
        response: What the cookie is set with.
        token: The token.
        seconds: How long; None: as long as the browser is open.
    """
    response.set_cookie(
        _cookie_name(request),
        token,
        max_age=seconds,
        path=_path(request),
        secure=_encrypted(request),
        httponly=True,
        # "strict" would show who follows a link from a mail that they must sign in.
        # Nothing is changed by following a link: forms carry a token of their own.
        samesite="lax",
    )


def drop_cookie(request: Request, response: Response) -> None:
    """Have the browser forget its token."""
    response.delete_cookie(
        _cookie_name(request),
        path=_path(request),
        secure=_encrypted(request),
        httponly=True,
        samesite="lax",
    )


def _cookie_name(request: Request) -> str:
    """Return a name under which nobody on a way that is not encrypted can set one."""
    if not _encrypted(request):
        return _COOKIE
    return f"__Host-{_COOKIE}" if _path(request) == "/" else f"__Secure-{_COOKIE}"


def _encrypted(request: Request) -> bool:
    # Not by `request.url`, which cannot be made of a query that is no UTF-8.
    return request.scope.get("scheme") == "https"


def _path(request: Request) -> str:
    return root_of(request) or "/"


def form_token(token: str) -> str:
    """Return what each form carries, so that no other site can send it."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()


def refuse_forged(token: str | None, shown: str) -> None:
    """Go on if a form was made for who sends it.

    Args:
        token: What the browser shows.
        shown: What the form carries.

    Raises:
        ProblemError: It was not.
    """
    wanted = "" if token is None else form_token(token)
    if not wanted or not hmac.compare_digest(wanted.encode(), shown.encode()):
        raise ProblemError(
            "not_allowed",
            "The form has expired, or belongs to another session. Go back, reload the"
            " page and send it again. Cookies must be allowed.",
        )


def refuse_foreign(request: Request) -> None:
    """Go on if a form was sent by a page of this server, as browsers tell it.

    Raises:
        ProblemError: It was sent by another one.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        foreign = site not in {"same-origin", "none"}
    else:
        origin = request.headers.get("origin")
        # Behind a proxy we may be asked by http what the browser asked by https.
        foreign = origin is not None and _host(origin) != request.headers.get("host")
    if foreign:
        raise ProblemError(
            "not_allowed",
            "The form was sent from another site. Open the console itself and send it"
            " from there. A proxy in front must forward the original Host header.",
        )


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def safe_next(asked: str, paths: Collection[str]) -> str:
    """Return where to go after signing in: a page of the console, with its query.

    Args:
        asked: What a link said, by whomever it was made.
        paths: Those of the pages there are.

    Returns:
        *asked* if it names one of them, else "".
    """
    if "\\" in asked or not asked.isprintable():
        return ""
    try:
        parts = urlsplit(asked)
    except ValueError:
        return ""
    if parts.scheme or parts.netloc or parts.path not in paths:
        return ""
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
