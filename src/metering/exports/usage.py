"""Usage as rows: one for each call of a period, and one for each correction of it.

The charges of a period's rows add up to what the ledger has, to the pico-dollar. Money
is a decimal string, for a float could not hold it.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import TextIO

import msgspec

from metering.clock import iso_utc
from metering.exports.cells import text_cell
from metering.ledger import Correction, Standing
from metering.money import format_usd
from metering.stores import Ledger
from metering.usage import Usage, UsageEvent

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

_encode = msgspec.json.Encoder().encode


def usage_rows(ledger: Ledger, account_id: str, period: str) -> Iterator[Row]:
    """Yield the calls of a period as they were posted, then what its invoice corrects.

    It reads page by page, so that memory stays small. It blocks: call it in a thread.

    Args:
        ledger: Where they are.
        account_id: Whose.
        period: The key of the period.
    """
    place = -1, ""
    find = ledger.standings_of_period
    while calls := find(account_id, period, after=place, limit=_PAGE):
        yield from map(_of_call, calls)
        place = calls[-1].event.admitted_ns, calls[-1].event.id
    after = ""
    while made := ledger.corrections(account_id, period, after=after, limit=_PAGE):
        corrected = ledger.standings_by_id({each.event_id for each in made})
        events = {standing.event.id: standing.event for standing in corrected}
        for correction in made:
            yield _of_correction(correction, events[correction.event_id])
        after = made[-1].id


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


def _of_correction(correction: Correction, event: UsageEvent) -> Row:
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
