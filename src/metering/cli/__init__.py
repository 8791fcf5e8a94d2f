"""The command line: `metering`, which is `python -m metering` too."""

import sys

__all__ = ["main"]

_OF_THE_EXTRA = frozenset({"rich", "typer"})


def main() -> None:
    """Run the command that the arguments name, and end the process with its code."""
    try:
        from metering.cli.app import app  # noqa: PLC0415 - the extra may not be there
    except ModuleNotFoundError as error:
        if error.name not in _OF_THE_EXTRA:
            raise
        print(  # noqa: T201 - what would print it otherwise is not installed
            f"The command line needs the package {error.name}, which is not installed."
            " Install it with: pip install 'asgi-metering[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    app(prog_name="metering")
