"""Cells of CSV, which a spreadsheet must take for what they are."""

__all__ = ["text_cell"]

_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def text_cell(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula.

    Names come from clients where unpriced models are passed on.
    """
    return f"'{text}" if text.startswith(_STARTS_FORMULA) else text
