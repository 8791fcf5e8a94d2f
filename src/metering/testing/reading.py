"""Reading a request as model servers do: leniently, but not everything."""

from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

__all__ = [
    "Json",
    "RefusedError",
    "check_model",
    "flag_in",
    "number_in",
    "wanted",
    "word_at",
    "words_in",
]

Json = dict[str, Any]
_T = TypeVar("_T")


class RefusedError(Exception):
    """The request cannot be served.

    Attributes:
        status: HTTP status of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_model(body: Json, models: Collection[str]) -> None:
    """Refuse a model that is not among *models*; none listed means any."""
    if models and body.get("model") not in models:
        raise RefusedError(404, f"The model {body.get('model')!r} does not exist.")


def number_in(body: Json, name: str) -> int | None:
    """Return a number; "7", 7.0 and true are numbers too."""
    return _converted(body, name, int)


def flag_in(body: Json, name: str) -> bool:
    """Return whether a flag is set; "true" and 1 set it too."""
    return _converted(body, name, bool) or False


def wanted(body: Json, name: str) -> object:
    """Return a member that must be there."""
    if name not in body:
        raise RefusedError(400, f"{name}: Field required.")
    return body[name]


def words_in(prompt: object) -> int:
    """Return how many tokens a text or a list of token ids is."""
    if isinstance(prompt, str):
        return len(prompt.split())
    if isinstance(prompt, list):
        return len(prompt)
    raise RefusedError(400, "A prompt is a text or a list of token ids.")


def word_at(at: int) -> str:
    """Return the token that the model writes at a place, from 0."""
    return f"w{at + 1}" if at == 0 else f" w{at + 1}"


def _converted(body: Json, name: str, kind: type[_T]) -> _T | None:
    value = body.get(name)
    value = int(value) if kind is int and isinstance(value, bool) else value
    try:
        return None if value is None else msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        raise RefusedError(400, f"{name} is no valid {kind.__name__}.") from None
