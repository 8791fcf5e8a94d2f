"""A usage export: calls of the past, one a line of JSON or one a row of CSV."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from metering.cli.values import instant_ns
from metering.clock import NS_PER_MS
from metering.errors import ConfigurationError
from metering.money import parse_usd
from metering.usage import Usage

__all__ = ["Exported", "read_export"]

_LEAVES = Usage.__struct_fields__
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Exported(msgspec.Struct, frozen=True, gc=False):
    """One call.

    Attributes:
        account_id: Who made it.
        model: What was called.
        admitted_ns: When it began.
        ended_ns: When it ended.
        usage: What it used.
        tier: The tier that the account was in, if that is told.
        charge_p: What was charged, if that is told.
        output_tokens_max: What an output could have had at most, if that is told.
        key_id: With which key.
    """

    account_id: str
    model: str
    admitted_ns: int
    ended_ns: int
    usage: Usage
    tier: int | None = None
    charge_p: int | None = None
    output_tokens_max: int | None = None
    key_id: str = ""


def read_export(path: Path) -> Iterator[Exported]:
    """Yield the calls of an export in their order: CSV by the file's name, else JSON.

    Raises:
        ConfigurationError: Names the line, the field, its value and what is allowed.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines: Iterable[str | Mapping[str, Any]] = file
            first = 1
            if path.suffix.lower() == ".csv":
                lines, first = csv.DictReader(file), 2
            for number, line in enumerate(lines, start=first):
                if isinstance(line, str) and not line.strip():
                    continue
                row = _Row(line, f"{path}, line {number}")
                if not row.corrects:
                    yield row.exported()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The export {str(path)!r} cannot be read: {error}. Name a file of JSON"
            " lines, or of CSV that ends with .csv."
        ) from error


class _Row:
    """One line, and errors that name it."""

    def __init__(self, line: str | Mapping[str, Any], source: str) -> None:
        self._source = source
        if isinstance(line, str):
            try:
                fields = _decode(line)
            except msgspec.MsgspecError as error:
                raise ConfigurationError(
                    f"{source} is not a JSON object: {error}. Write one a line."
                ) from None
            used = fields.pop("usage", None)
            fields |= used if isinstance(used, dict) else {}
        else:
            fields = {name: value for name, value in line.items() if value}
        self._fields: Mapping[str, Any] = fields

    @property
    def corrects(self) -> bool:
        """Whether it is about a call that another line tells."""
        return self._fields.get("class") == "correction"

    def exported(self) -> Exported:
        began_ns = self._instant("admitted_ns", "admitted", "at")
        if began_ns is None:
            raise self._fault("admitted_ns", None, "when the call began: ns, or a time")
        ended_ns = self._instant("ended_ns", "ended")
        if ended_ns is None:
            ended_ns = began_ns + (self._count("compute_ms") or 0) * NS_PER_MS
        return Exported(
            account_id=self._text("account_id", "account"),
            model=self._text("model"),
            admitted_ns=began_ns,
            ended_ns=max(began_ns, ended_ns),
            usage=Usage(
                **{
                    leaf: count
                    for leaf in _LEAVES
                    if (count := self._count(leaf)) is not None
                }
            ),
            tier=self._count("tier"),
            charge_p=self._charge_p(),
            output_tokens_max=self._count("output_tokens_max") or None,
            key_id=str(self._fields.get("key_id", "")),
        )

    def _text(self, *names: str) -> str:
        for name in names:
            text = self._fields.get(name)
            if isinstance(text, str) and text:
                return text
        raise self._fault(names[0], self._fields.get(names[0]), "a string, not empty")

    def _count(self, name: str) -> int | None:
        value = self._fields.get(name)
        if value is None:
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) is not int or not 0 <= value < 2**63:
            raise self._fault(name, value, "a whole number from 0 on")
        return value

    def _instant(self, *names: str) -> int | None:
        for name in names:
            value = self._fields.get(name)
            if isinstance(value, str) and not value.isdigit():
                try:
                    return instant_ns(value)
                except ConfigurationError as error:
                    raise ConfigurationError(f"{self._source}: {error}") from None
            if value is not None:
                return self._count(name)
        return None

    def _charge_p(self) -> int | None:
        usd = self._fields.get("charge_usd")
        if usd is None:
            return self._count("charge_p")
        try:
            return parse_usd(usd)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._source}: charge_usd: {error}") from None

    def _fault(self, name: str, value: object, allowed: str) -> ConfigurationError:
        what = "is missing" if value is None else f"= {value!r} cannot be used"
        return ConfigurationError(f"{self._source}: {name} {what}. Allowed: {allowed}.")
