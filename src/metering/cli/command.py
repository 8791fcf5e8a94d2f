"""What every command has: where the plan is, how it answers, how it ends."""

import inspect
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import anyio
import structlog
import typer

from metering.cli.desk import Desk
from metering.cli.exit_codes import FAILED, READER_GONE
from metering.cli.output import Output, ReaderGone
from metering.errors import MeteringError

__all__ = ["PANEL", "command", "group"]

PANEL = "Where and how"
"""Where the help of a command has the options that every command has."""

_Config = Annotated[
    str,
    typer.Option(
        "--config",
        envvar="METERING_CONFIG",
        help='The plan: a TOML file, or "preset:friendli".',
        rich_help_panel=PANEL,
    ),
]
_Data = Annotated[
    str,
    typer.Option(
        "--data",
        envvar="METERING_DATA",
        help="The data home of the service; by default the plan's, else .metering.",
        rich_help_panel=PANEL,
    ),
]
_Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Answer with one JSON document.", rich_help_panel=PANEL
    ),
]
_COMMON = tuple(
    inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
    for name, default, annotation in (
        ("config", "", _Config),
        ("data", "", _Data),
        ("as_json", False, _Json),
    )
)

Run = Callable[..., Awaitable[int | None]]


def group(name: str, about: str) -> typer.Typer:
    """Return an empty group of commands, such as `accounts`."""
    return typer.Typer(name=name, help=about, no_args_is_help=True)


def command(
    app: typer.Typer, name: str, *, panel: str | None = None
) -> Callable[[Run], Run]:
    """Make an asynchronous function a command; it may return an exit code.

    Its first argument is the `Desk`; the others are what the command line gives it.
    """

    def add(run: Run) -> Run:
        _, *own = inspect.signature(run).parameters.values()
        shown = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]

        def invoke(
            *, config: str, data: str, as_json: bool, **arguments: object
        ) -> None:
            output = Output(as_json=as_json)
            desk = Desk(config, data, output, os.environ)
            raise typer.Exit(_carry_out(partial(run, desk, **arguments), desk))

        parameters = (*shown, *_COMMON)
        described: Any = invoke
        described.__signature__ = inspect.Signature(parameters)
        described.__annotations__ = {p.name: p.annotation for p in parameters}
        described.__doc__ = run.__doc__
        app.command(name, rich_help_panel=panel)(described)
        return run

    return add


def _carry_out(run: Callable[[], Awaitable[int | None]], desk: Desk) -> int:
    async def whole() -> int:
        try:
            return await run() or 0
        finally:
            await desk.close()

    _log_to_stderr()
    try:
        return anyio.run(whole)
    except MeteringError as error:
        desk.output.error(str(error))
        return FAILED
    except ReaderGone:
        return READER_GONE


def _log_to_stderr() -> None:
    """Keep standard output for answers; what a command says itself is not logged."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(colors=False, sort_keys=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
