"""Forms that people fill in: what they typed as the API takes it, or what is wrong."""

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

__all__ = ["FieldError", "filled"]

_Body = TypeVar("_Body", bound=msgspec.Struct)

_FIELD = re.compile(r"`\$\.(\w+)|field `(\w+)`")

_USD = "Enter an amount in dollars, such as 50 or 7.50."
_NAME = "Enter 1 to 200 characters on one line."
_TOKENS = "Enter a whole number of tokens, such as 16384, or leave it empty."
_WRONG: Mapping[str, str] = {
    "usd": _USD,
    "reference": _NAME,
    "refers_to": _NAME,
    "id": _NAME,
    "time_zone": "Enter an IANA time zone, such as Europe/Berlin.",
    "anchor_day": "Enter a day of the month, 1 to 31.",
    "usage_limit_usd": f"{_USD[:-1]}, or leave it empty.",
    "output_tokens_max": _TOKENS,
    "reasoning_output_tokens_max": _TOKENS,
    "amount": "Enter a whole number of requests.",
    "burst": "Enter a whole number of requests, or leave it empty.",
    "period": "Choose a period.",
    "level": "Choose a tier.",
}


class FieldError(ValueError):
    """A field cannot be used as it was filled in.

    Args:
        field: Its name.
        text: What to write there.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def filled(
    body: type[_Body], fields: Mapping[str, object], *, within: str = ""
) -> _Body:
    """Return what the API is asked by a form.

    Args:
        body: What the API takes.
        fields: What was typed; what was left empty is left out.
        within: How the names of the form's fields begin, where they are longer.

    Raises:
        FieldError: Names the first field that cannot be used, and what to write there.
    """
    told = {name: value for name, value in fields.items() if value != ""}
    try:
        return msgspec.convert(told, body, strict=False)
    except msgspec.ValidationError as error:
        found = _FIELD.search(str(error))
        name = "" if found is None else found[1] or found[2]
        raise FieldError(within + name, _WRONG.get(name, f"{error}.")) from None
