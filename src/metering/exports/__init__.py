"""Invoices and usage as files: JSON and CSV for programs, HTML to be printed."""

from metering.exports.invoices import invoice_csv, invoice_document
from metering.exports.printable import invoice_html
from metering.exports.usage import USAGE_COLUMNS, usage_rows, write_csv, write_jsonl

__all__ = [
    "USAGE_COLUMNS",
    "invoice_csv",
    "invoice_document",
    "invoice_html",
    "usage_rows",
    "write_csv",
    "write_jsonl",
]
