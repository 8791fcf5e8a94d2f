"""How commands answer: a JSON document, or tables and sentences for people."""

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from io import StringIO

import msgspec
from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from metering.errors import ConfigurationError

__all__ = ["Output", "ReaderGone", "bullets", "facts", "table"]

_NARROWEST = 10
"""Characters below which no cell is folded."""

_NARROW_WINDOW = 80
_UNFOLDED_MAX = 36
"""Longest word that is kept whole where there is room for all such words: an id."""


class ReaderGone(Exception):  # noqa: N818 - nothing is wrong: who reads has enough
    """Who reads the answer has closed the pipe, as `head` does."""


class Output:
    """Writes answers to standard output, and all else to standard error.

    Args:
        as_json: Whether the answer is one JSON document.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        shows = sys.stdout is not None and sys.stdout.isatty()
        self._console = Console(
            file=StringIO(),
            force_terminal=shows or None,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._aside = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def show(self, document: object, *readable: RenderableType) -> None:
        """Write the answer.

        Args:
            document: What `--json` writes: maps, lists, strings, whole numbers.
            *readable: The same for people.
        """
        if self.as_json:
            text = msgspec.json.format(msgspec.json.encode(document), indent=2)
            self.show_line(text.decode())
            return
        with self._console.capture() as shown:
            for part in readable:
                self._console.print(part)
        _write(shown.get())

    def show_verbatim(self, line: str) -> None:
        """Write a line that is to be copied: it is never wrapped, whatever its length.

        It is left out of JSON, where the document has it.
        """
        if not self.as_json:
            self.show_line(line)

    def show_line(self, line: str) -> None:
        """Write a line as it is."""
        _write(line + "\n")

    def note(self, sentence: str) -> None:
        """Say beside the answer what is good to know."""
        self._say(sentence, "dim")

    def error(self, sentence: str) -> None:
        """Say why the command could not do its work."""
        self._say(f"Error: {sentence}", "red")

    def _say(self, sentence: str, style: str) -> None:
        """Write aside: between words on a terminal, on one line in a file."""
        in_file = not self._aside.is_terminal
        self._aside.print(sentence, style=style, soft_wrap=in_file)

    def progress(self) -> Progress:
        """Return a bar that is seen while a terminal watches, and leaves no trace."""
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._aside,
            transient=True,
            disable=not self._aside.is_terminal,
        )


def _write(text: str) -> None:
    """Write to standard output, to its end.

    Raises:
        ReaderGone: Nobody reads any more.
        ConfigurationError: It cannot be written.
    """
    why = "standard output is closed"
    if sys.stdout is not None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            _forget_unwritten()
            if error.errno == errno.EPIPE:
                raise ReaderGone from None
            why = str(error.strerror)
        else:
            return
    raise ConfigurationError(
        f"The command has run, but its answer cannot be written: {why}. Give it another"
        " place: a terminal, a file, a pipe."
    )


def _forget_unwritten() -> None:
    """Let the interpreter end without trying to write it again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> RenderableType:
    """Return a table that loses nothing in a narrow window: long cells are folded.

    One without rows is a sentence.

    Args:
        title: What it shows.
        columns: Their names; one that ends with ">" is set to the right.
        rows: Their cells.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return f"{title}: none."
    made = _empty()
    whole = _unfolded(columns, cells)
    for at, name in enumerate(columns):
        right = name.endswith(">")
        made.add_column(
            name.removesuffix(">"),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right or at in whole,
            min_width=min(_NARROWEST, max(len(row[at]) for row in cells)),
        )
    for row in cells:
        made.add_row(*row)
    return _titled(title, made)


def _unfolded(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> set[int]:
    """Return which columns are of single words, such as ids, if there is room for all.

    A word that is folded is hard to read, and harder to copy.
    """
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    words = {
        at
        for at, width in enumerate(widths)
        if width <= _UNFOLDED_MAX and not any(" " in row[at] for row in cells)
    }
    least = sum(
        width if at in words or columns[at].endswith(">") else min(_NARROWEST, width)
        for at, width in enumerate(widths)
    )
    return words if least + 2 * len(columns) < _NARROW_WINDOW else set()


def facts(title: str, pairs: Iterable[tuple[str, str]]) -> RenderableType:
    """Return names and what is said of each, one a line."""
    made = _empty(headed=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for pair in pairs:
        made.add_row(*pair)
    return _titled(title, made)


def bullets(title: str, lines: Iterable[str]) -> RenderableType:
    """Return sentences, one below the other."""
    made = _empty(headed=False)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for line in lines:
        made.add_row("-", line)
    return _titled(title, made)


def _titled(title: str, made: Table) -> RenderableType:
    # A title of the table's own would be folded where the table is narrow.
    return Group(Text(title, style="bold"), made)


def _empty(*, headed: bool = True) -> Table:
    return Table(
        show_header=headed,
        box=box.SIMPLE_HEAD,
        header_style="dim",
        padding=(0, 1, 0, 0),
    )
