"""Reading the members of an OpenAI-like request, as leniently as any server does."""

import math
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from metering.dialects.dialect import Members
from metering.dialects.figures import NULL, UNREADABLE
from metering.dialects.json_pieces import items_of, opened
from metering.dialects.unbounded import Unbounded
from metering.facts import OutputBound, ReasoningBudget

__all__ = [
    "ask_usage",
    "budget_of",
    "choices_of",
    "floors_of",
    "is_set",
    "model_of",
    "number_of",
    "read_bounds",
    "unbounded_in",
    "usage_asked",
]

_NO_BOUND = -1
_TOKENS_MAX = 2**31  # servers hold token counts in 32 bits; above it is "no bound"
_NUMBER_BYTES_MAX = 64
_YES = frozenset({"true", "t", "yes", "y", "on", "1"})  # what pydantic takes for true

_MEDIA_ENDS = ("_url", "audio", "_embeds", "_image", "file")
# A letter of a name may be written as an escape, and is then a letter all the same.
_MEDIA_MARKS = (*(f'{end}"'.encode() for end in _MEDIA_ENDS), b"\\u00")

_BUDGETS = (
    ("thinking_token_budget", ""),  # vLLM
    ("custom_params", "thinking_budget"),  # SGLang
    ("chat_template_kwargs", "thinking_budget"),  # both: what the template makes of it
)

_text = msgspec.json.Decoder(str)
_value = msgspec.json.Decoder(float_hook=Decimal)
_options = msgspec.json.Decoder(dict[str, msgspec.Raw])


def model_of(members: Members) -> str | None:
    """Return the model that is named, or None."""
    try:
        return _text.decode(members["model"])
    except (KeyError, *UNREADABLE):
        return None


def number_of(raw: msgspec.Raw) -> int | None:
    """Return the number that *raw* is to any server, rounded up.

    Integral strings, floats and booleans are numbers to one server or another.

    Returns:
        0 to 2**31 + 1, which stands for anything above; -1 where it bounds nothing:
        null, negative, NaN, or empty, which an app's `or` takes for absent;
        None if it is no number at all, such as "abc" or a list.
    """
    text = bytes(raw)
    if text.isdigit() and len(text) <= _NUMBER_BYTES_MAX:
        return min(int(text), _TOKENS_MAX + 1)
    try:
        value = _value.decode(text) if len(text) <= _NUMBER_BYTES_MAX else None
    except UNREADABLE:
        return _NO_BOUND  # a number beyond what any type here can hold
    if value:
        return _rounded_up(value)
    return 0 if isinstance(value, int | Decimal) else _NO_BOUND


def _rounded_up(value: object) -> int | None:
    if not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    if number.is_nan() or number < 0:
        return _NO_BOUND
    return _TOKENS_MAX + 1 if number > _TOKENS_MAX else math.ceil(number)


def read_bounds(
    members: Members, fields: Iterable[str], *, zero_counts: bool = False
) -> tuple[tuple[OutputBound, ...], bool]:
    """Return the bounds among *fields*, and whether one is there that is no number.

    Args:
        members: The request.
        fields: Names of the members that bound the output.
        zero_counts: Whether 0 asks for no output, in place of any amount.
    """
    bounds: list[OutputBound] = []
    invalid = False
    for field in fields:
        if field not in members:
            continue
        tokens = number_of(members[field])
        if tokens is None:
            invalid = True
        else:
            bounded = 0 < tokens <= _TOKENS_MAX or (tokens == 0 and zero_counts)
            bounds.append(OutputBound(field, tokens if bounded else None))
    return tuple(bounds), invalid


def floors_of(members: Members) -> tuple[OutputBound, ...]:
    """Return the least output asked for, if that is a number above 0."""
    if "min_tokens" not in members:
        return ()
    tokens = number_of(members["min_tokens"])
    return (OutputBound("min_tokens", tokens),) if tokens and tokens > 0 else ()


def budget_of(members: Members) -> ReasoningBudget | None:
    """Return what is set aside for reasoning; None where the request does not say.

    OpenAI's `reasoning_effort` is no count: it bounds nothing, and stays.
    """
    for field, name in _BUDGETS:
        raw = members.get(field, NULL)
        if name and raw != NULL:
            try:
                raw = _options.decode(raw).get(name, NULL)
            except UNREADABLE:
                continue  # the app will refuse it
        tokens = None if raw == NULL else number_of(raw)
        if tokens is not None and tokens >= 0:
            return ReasoningBudget(field, name, tokens)
    return None


def choices_of(members: Members) -> int:
    """Return how many choices are written for one prompt.

    `n` is also the width of vLLM's `use_beam_search`; of `best_of` only some are shown,
    but all are written.
    """
    choices = 1
    for field in ("n", "best_of"):
        if field in members:
            choices = max(choices, number_of(members[field]) or 1)
    return choices


def is_set(raw: msgspec.Raw | None) -> bool:
    """Whether a flag is true to any server."""
    if raw is None or len(raw) > _NUMBER_BYTES_MAX:
        return False
    if bytes(raw) == b"true":
        return True
    try:
        value = _value.decode(raw)
    except UNREADABLE:
        return False
    return value.lower() in _YES if isinstance(value, str) else value in (True, 1)


def _stream_options(members: Members) -> dict[str, msgspec.Raw] | None:
    raw = members.get("stream_options", NULL)
    if raw == NULL:
        return {}
    try:
        return _options.decode(raw)
    except UNREADABLE:
        return None  # the app will refuse it; nothing is to be written over that


def usage_asked(members: Members) -> bool:
    """Whether the client asked for usage in its stream."""
    options = _stream_options(members)
    return options is not None and is_set(options.get("include_usage"))


def ask_usage(members: Members) -> dict[str, bytes]:
    """Return the `stream_options` that ask for usage, if the client's do not.

    Only for a stream: elsewhere servers refuse the member. Of what the client sent all
    stays but `continuous_usage_stats`, which has no effect without `include_usage` and
    would now put into each event what the client did not ask for.
    """
    options = _stream_options(members)
    if options is None or not is_set(members.get("stream")):
        return {}
    if is_set(options.get("include_usage")):
        return {}
    options.pop("continuous_usage_stats", None)
    options["include_usage"] = msgspec.Raw(b"true")
    return {"stream_options": msgspec.json.encode(options)}


def unbounded_in(members: Members) -> Unbounded:
    """Return what the model reads that the request's bytes do not bound.

    That is media and files, sent or named, or a chat template of the client's own. Only
    messages whose bytes hold one of a few names are decoded, and only the parts of each
    message's content are looked at.
    """
    unbounded = Unbounded()
    if members.get("chat_template", NULL) != NULL:
        unbounded.add()
    raw = members.get("messages", NULL)
    text = bytes(raw)
    if text.rfind(b"[") <= 0:
        return unbounded  # no content is a list of parts
    if max(map(text.rfind, _MEDIA_MARKS)) < 0:
        return unbounded
    try:
        for message in items_of(opened(raw)):
            if isinstance(message, dict):
                _add_media(message, unbounded)  # an answer that was spoken, by its id
                for part in items_of(message.get("content")):
                    if isinstance(part, dict):
                        _add_media(part, unbounded)
    except UNREADABLE:
        unbounded.add()
    return unbounded


def _add_media(part: dict[str, Any], unbounded: Unbounded) -> None:
    names = {
        name
        for name, content in part.items()
        if name.endswith(_MEDIA_ENDS) and content is not None
    }
    kind = part.get("type")
    if isinstance(kind, str) and kind.endswith(_MEDIA_ENDS):
        names.add(kind)  # vLLM finds media it has seen by the part's `uuid` alone
    for name in names:
        unbounded.add(part.get(name))
