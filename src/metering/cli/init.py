"""`metering init`: a plan to begin with."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from metering.cli.desk import Desk
from metering.config import preset_text
from metering.errors import ConfigurationError

__all__ = ["init"]

_STARTER = files("metering.cli") / "starter.toml"


async def init(
    desk: Desk,
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path(
        "metering.toml"
    ),
    *,
    preset: Annotated[
        str | None,
        typer.Option(help='A plan that ships with the library, such as "friendli".'),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing file.")
    ] = False,
) -> None:
    """Write a commented plan to start from: a small one, or a preset."""
    text = (
        _STARTER.read_text(encoding="utf-8") if preset is None else preset_text(preset)
    )
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is there already, and nothing was written. Name another file, or"
            " replace it with --force."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}. Name a file in a folder that"
            " is there and can be written to."
        ) from error
    desk.output.show(
        {"written": str(path)},
        f"Written: {path}. What it means: metering check {path}",
        "Commands and services find it by METERING_CONFIG, or --config.",
    )
