"""What somebody wrote, and errors that point at a place in it."""

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, time
from decimal import Decimal
from difflib import get_close_matches
from typing import TypeVar

import msgspec
from msgspec import inspect

from metering.errors import ConfigurationError, without_credentials

__all__ = ["Document"]

_PATH = re.compile(r"(?P<reason>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD = re.compile(
    r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL
)
_TYPES = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_SHOWN_MAX = 80

_WORDS = {
    "array": "an array",
    "bool": "a boolean",
    "date": "a date",
    "datetime": "a date-time",
    "decimal": "a number with a point",
    "int": "an integer",
    "object": "a table",
    "str": "a string",
    "time": "a time of day",
}


_Table = TypeVar("_Table", bound=msgspec.Struct)


class Document:
    """Tables and values that were parsed but not yet understood.

    Args:
        tree: Tables, arrays and values.
        source: What errors call it, such as the path of its file.
    """

    __slots__ = ("_root", "_source", "_tree")

    def __init__(self, tree: object, source: str) -> None:
        self._source = source
        self._tree = tree
        self._root: type[msgspec.Struct] = msgspec.Struct

    @classmethod
    def from_toml(cls, text: str, source: str) -> "Document":
        """Return a TOML text; numbers with a point become Decimals, never floats.

        A byte order mark, which some editors write, is passed over.

        Raises:
            ConfigurationError: It is not TOML; names the line and the column.
        """
        text = text.removeprefix("\ufeff")
        try:
            return cls(tomllib.loads(text, parse_float=Decimal), source)
        except ValueError as error:
            lines = text.split("\n")
            end = f"at line {len(lines)}, column {len(lines[-1]) + 1}, the end"
            fault = str(error).replace("at end of document", end)
            raise ConfigurationError(f"{source} is not TOML: {fault}.") from None

    def read(self, root: type[_Table]) -> _Table:
        """Return the whole as a table of that kind, each value of its field's type.

        Raises:
            ConfigurationError: A field is unknown, missing or cannot be used.
        """
        self._root = root
        try:
            return msgspec.convert(
                self._tree, root, dec_hook=lambda kind, raw: kind(raw)
            )
        except msgspec.ValidationError as error:
            raise self._explained(error) from None

    @contextmanager
    def at(self, path: str) -> Iterator[None]:
        """Make errors of the rules applied within point at *path*."""
        try:
            yield
        except ConfigurationError as error:
            raise self.fault(path, str(error)) from None

    def fault(self, path: str, reason: str) -> ConfigurationError:
        """Return the error that says why the value at *path* cannot be used.

        Args:
            path: Such as `tiers[1].requests.paid`.
            reason: A sentence; empty where what is allowed says it all.
        """
        shown = _shown(self._value_at(path))
        _, allowed = _described(self._root, path)
        value = f" = {shown}" if shown else ""
        why = f" {reason}" if reason else ""
        return ConfigurationError(
            f"{self._source}: {path}{value} cannot be used.{why}{_allowed(allowed)}"
        )

    def missing(self, path: str) -> ConfigurationError:
        """Return the error that says that the field at *path* must be written."""
        _, allowed = _described(self._root, path)
        return ConfigurationError(
            f"{self._source}: {path} is missing.{_allowed(allowed)}"
        )

    def _unknown(self, table: str, name: str) -> ConfigurationError:
        fields, _ = _described(self._root, table)
        near = get_close_matches(name, fields, n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        return ConfigurationError(
            f"{self._source}: {_joined(table, name)} is not a field.{guess}"
            f" Allowed here: {', '.join(fields)}."
        )

    def _explained(self, error: msgspec.ValidationError) -> ConfigurationError:
        split = _PATH.fullmatch(str(error))
        assert split is not None  # noqa: S101 - each part of the pattern is optional
        reason, path = split["reason"], (split["path"] or "").lstrip(".")
        if isinstance(error.__cause__, ConfigurationError):
            return self.fault(path, str(error.__cause__))
        if named := _FIELD.fullmatch(reason):
            if named[1] == "contains unknown":
                return self._unknown(path, named[2])
            return self.missing(_joined(path, named[2]))
        if types := _TYPES.fullmatch(reason):
            wanted, got = (_in_words(kinds) for kinds in types.groups())
            return self.fault(path, f"It is {got}, not {wanted}.")
        return self.fault(path, "")

    def _value_at(self, path: str) -> object:
        value: object = self._tree
        for index, name in _STEP.findall(path):
            if index and isinstance(value, list) and int(index) < len(value):
                value = value[int(index)]
            elif name and isinstance(value, dict):
                value = value.get(name)
            else:
                return None
        return value


def _joined(table: str, name: str) -> str:
    return f"{table}.{name}" if table else name


def _allowed(description: str) -> str:
    return f" Allowed: {description}." if description else ""


def _in_words(kinds: str) -> str:
    # TOML has no null, so an optional field is spoken of as if it were not.
    named = [_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null"]
    return " or ".join(named)


def _shown(value: object) -> str:
    """Return a value as TOML writes it; nothing for tables, arrays and no value."""
    if isinstance(value, bool | str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, int | float | Decimal):
        text = str(value)
    elif isinstance(value, date | time):
        text = value.isoformat().replace("+00:00", "Z")
    else:
        return ""
    text = without_credentials(text)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


def _described(root: type[msgspec.Struct], path: str) -> tuple[list[str], str]:
    """Return the fields of the table at *path*, and what a field there may hold."""
    node, allowed = _opened(inspect.type_info(root))
    for index, name in _STEP.findall(path):
        inner: inspect.Type | None = None
        if index and isinstance(node, inspect.VarTupleType):
            inner = node.item_type
        elif isinstance(node, inspect.StructType):
            inner = next((f.type for f in node.fields if f.encode_name == name), None)
        if inner is None:
            return [], ""
        node, found = _opened(inner)
        allowed = found or (allowed if index else "")
    if isinstance(node, inspect.StructType):
        return [f.encode_name for f in node.fields], allowed
    return [], allowed


def _opened(node: inspect.Type) -> tuple[inspect.Type, str]:
    """Unwrap the alternatives and the description around a type."""
    if isinstance(node, inspect.UnionType):
        some = [kind for kind in node.types if not isinstance(kind, inspect.NoneType)]
        tables = [kind for kind in some if isinstance(kind, inspect.StructType)]
        return _opened((tables or some)[0])
    if isinstance(node, inspect.Metadata):
        inner, _ = _opened(node.type)
        return inner, str((node.extra_json_schema or {}).get("description", ""))
    return node, ""
