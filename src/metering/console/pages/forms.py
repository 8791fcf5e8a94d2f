"""What pages are asked: members of queries, and fields of forms."""

from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from metering.console.pages.security import refuse_foreign, refuse_forged
from metering.console.problems import ProblemError

__all__ = ["FORM_TOKEN", "asked", "read_form"]

FORM_TOKEN = "form_token"  # noqa: S105 - the name of the field
FORM_BYTES_MAX = 16 * 1024
FIELDS_MAX = 50

_KIND = "application/x-www-form-urlencoded"

_Members = TypeVar("_Members", bound=msgspec.Struct)


def asked(pairs: Iterable[tuple[str, str]], members: type[_Members]) -> _Members:
    """Return what was asked, of a query or a form.

    What is left empty is as good as left out, and what the page has no use for, such as
    what a mail programme adds to a link, is passed over.

    Raises:
        ProblemError: A value cannot be used.
    """
    known = members.__struct_fields__
    written = {name: value for name, value in pairs if value and name in known}
    try:
        return msgspec.convert(written, members, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(
            "invalid_request", f"The page cannot show that: {error}."
        ) from None


async def read_form(request: Request, token: str | None) -> list[tuple[str, str]]:
    """Return the fields of a form that was made for who sends it.

    Args:
        request: What was sent.
        token: What the browser shows in its cookie.

    Raises:
        ProblemError: It is no form, too long, or forged.
    """
    refuse_foreign(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _KIND:
        raise ProblemError("invalid_request", "This is not a form of the console.")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES_MAX:
            raise ProblemError(
                "body_too_large", f"The form is longer than {FORM_BYTES_MAX:,} bytes."
            )
    try:
        fields = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=FIELDS_MAX,
            errors="strict",
        )
    except ValueError:
        raise ProblemError("invalid_request", "The form cannot be read.") from None
    refuse_forged(token, dict(fields).get(FORM_TOKEN, ""))
    return fields
