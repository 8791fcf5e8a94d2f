"""`metering demo`: a small model server with everything around it."""

from pathlib import Path
from typing import Annotated

import typer

from metering.cli.exit_codes import FAILED
from metering.cli.output import Output

__all__ = ["demo"]

_OF_THE_EXTRA = frozenset({"fastapi", "jinja2", "openai", "uvicorn"})


def demo(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            help="New or empty folder for records. Default: .metering/demo-TIME."
        ),
    ] = None,
    stay: Annotated[
        bool,
        typer.Option(
            "--stay",
            help="Keep running, with the console in a browser and some"
            " traffic, until Ctrl-C.",
        ),
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65_535, help="Port of the server. Default: any free one."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one JSON document.")
    ] = False,
) -> None:
    """Run a model server, call it as three customers, and show their exact bills.

    It uses a plan and data of its own.
    """
    try:
        from metering.demo.__main__ import main  # noqa: PLC0415 - of another extra
    except ModuleNotFoundError as error:
        if error.name not in _OF_THE_EXTRA:
            raise
        Output(as_json=False).error(
            f"The demo needs the package {error.name}, which is not installed. Install"
            " it with: pip install 'asgi-metering[demo]'"
        )
        raise typer.Exit(FAILED) from None
    arguments = [] if data is None else ["--data", str(data)]
    for flag, given in (("--stay", stay), ("--json", as_json)):
        arguments += [flag] * given
    if port is not None:
        arguments += ["--port", str(port)]
    raise typer.Exit(main(arguments))
