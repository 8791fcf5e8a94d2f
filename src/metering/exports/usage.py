"""Usage as rows: one for each call of a period, and one for each correction of it.

The charges of a period's rows add up to what the ledger has, to the pico-dollar. Money
is a decimal string, for a float could not hold it.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TextIO, TypeVar

import msgspec

from metering.clock import iso_utc
from metering.exports.cells import text_cell
from metering.ledger import Correction, Standing
from metering.money import format_usd
from metering.stores import Ledger
from metering.usage import Usage

__all__ = ["USAGE_COLUMNS", "usage_rows", "write_csv", "write_jsonl"]

_LEAVES = Usage.__struct_fields__
_PAGE = 500

USAGE_COLUMNS = (
    *("class", "id", "account_id", "key_id", "period", "model", "model_asked"),
    *("tier", "dialect", "admitted", "ended", "ending", "status", *_LEAVES),
    "output_tokens_max",
    *("usage_source", "price_version", "charge_usd", "flags", "reason"),
)
"""What each row tells; a correction leaves out what its call has told already."""

Row = Mapping[str, str | int]

_Item = TypeVar("_Item")

_encode = msgspec.json.Encoder().encode


def usage_rows(ledger: Ledger, account_id: str, period: str) -> Iterator[Row]:
    """Yield the calls of a period as they were posted, then what its invoice corrects.

    It reads page by page, so that memory stays small. It blocks: call it in a thread.

    Args:
        ledger: Where they are.
        account_id: Whose.
        period: The key of the period.
    """

    def calls(last: Standing | None) -> Sequence[Standing]:
        after = (-1, "") if last is None else (last.event.admitted_ns, last.event.id)
        find = ledger.standings_of_period
        return find(account_id, period, after=after, limit=_PAGE)

    def corrections(last: Correction | None) -> Sequence[Correction]:
        after = "" if last is None else last.id
        return ledger.corrections(account_id, period, after=after, limit=_PAGE)

    yield from map(_of_call, _paged(calls))
    for correction in _paged(corrections):
        standing = ledger.standing(correction.event_id)
        assert standing is not None  # noqa: S101 - corrections refer to events
        yield _of_correction(correction, standing)


def write_csv(rows: Iterable[Row], file: TextIO) -> None:
    """Write rows as CSV with a header; open the file with `newline=""`."""
    writer = csv.DictWriter(file, USAGE_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: text_cell(cell)
                if isinstance(cell, str) and not name.endswith("_usd")
                else cell
                for name, cell in row.items()
            }
        )


def write_jsonl(rows: Iterable[Row], file: TextIO) -> None:
    """Write rows as JSON, one object a line."""
    file.writelines(_encode(row).decode() + "\n" for row in rows)


def _paged(page_after: Callable[[_Item | None], Sequence[_Item]]) -> Iterator[_Item]:
    last: _Item | None = None
    while page := page_after(last):
        yield from page
        last = page[-1]


def _of_call(standing: Standing) -> Row:
    event = standing.event
    return {
        "class": "usage",
        "id": event.id,
        "account_id": event.account_id,
        "key_id": event.key_id,
        "period": event.period,
        "model": event.model,
        "model_asked": event.model_asked or event.model,
        "tier": event.tier,
        "dialect": event.dialect,
        "admitted": iso_utc(event.admitted_ns),
        "ended": iso_utc(event.ended_ns),
        "ending": event.ending,
        "status": event.status,
        **{leaf: getattr(event.usage, leaf) for leaf in _LEAVES},
        "output_tokens_max": event.output_tokens_max,
        "usage_source": event.usage_source,
        "price_version": event.price_version,
        "charge_usd": format_usd(event.charge_p),
        "flags": " ".join(event.flags),
    }


def _of_correction(correction: Correction, standing: Standing) -> Row:
    event = standing.event
    return {
        "class": "correction",
        "id": correction.id,
        "account_id": correction.account_id,
        "key_id": event.key_id,
        "period": correction.period,
        "model": event.model,
        "tier": event.tier,
        "admitted": iso_utc(event.admitted_ns),
        "ended": iso_utc(correction.at_ns),
        "price_version": correction.price_version,
        "charge_usd": format_usd(correction.amount_p),
        "reason": correction.reason,
    }
