"""The command line as a whole: every group and command, and in which order."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from metering import __version__
from metering.cli.accounts import accounts
from metering.cli.alerts import alerts
from metering.cli.bench import bench
from metering.cli.check import check
from metering.cli.command import command
from metering.cli.corrections import rerate, reverse
from metering.cli.credits import credits_
from metering.cli.demo import demo
from metering.cli.init import init
from metering.cli.invoices import invoice
from metering.cli.journal import journal
from metering.cli.keys import keys
from metering.cli.migrate import migrate
from metering.cli.notices import notices
from metering.cli.payments import payments
from metering.cli.price import price
from metering.cli.simulate import simulate
from metering.cli.usage import usage
from metering.cli.verify import verify

__all__ = ["app"]

_ORDER = (
    *("init", "check", "simulate", "price"),
    *("accounts", "keys", "payments", "credits", "usage", "alerts", "invoice"),
    *("reverse", "rerate"),
    *("migrate", "verify", "journal", "notices", "bench", "demo"),
)


class _Ordered(TyperGroup):
    """Lists commands and groups as they belong together, not groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    cls=_Ordered,
    name="metering",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:  # noqa: FBT001 - a callback of an option
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 all is well, 1 something was found (check, verify, journal,"
    " notices), 2 it could not be done: arguments, plan, or a store that does not"
    " answer."
)
def _metering(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Its number."),
    ] = False,
) -> None:
    """Tiers, limits, prices and bills of a metered service, from a terminal.

    A command works on the plan and the data of the service, beside it or without it.
    """


_PLAN = "The plan"
_LOOK_UP = "Accounts and money"

command(app, "init", panel=_PLAN)(init)
command(app, "check", panel=_PLAN)(check)
command(app, "simulate", panel=_PLAN)(simulate)
app.add_typer(price, rich_help_panel=_PLAN)

app.add_typer(accounts, rich_help_panel=_LOOK_UP)
app.add_typer(keys, rich_help_panel=_LOOK_UP)
app.add_typer(payments, rich_help_panel=_LOOK_UP)
app.add_typer(credits_, rich_help_panel=_LOOK_UP)
command(app, "usage", panel=_LOOK_UP)(usage)
command(app, "alerts", panel=_LOOK_UP)(alerts)
app.add_typer(invoice, rich_help_panel=_LOOK_UP)
command(app, "reverse", panel=_LOOK_UP)(reverse)
command(app, "rerate", panel=_LOOK_UP)(rerate)

_SERVICE = "The service"

command(app, "migrate", panel=_SERVICE)(migrate)
command(app, "verify", panel=_SERVICE)(verify)
app.add_typer(journal, rich_help_panel=_SERVICE)
app.add_typer(notices, rich_help_panel=_SERVICE)
command(app, "bench", panel=_SERVICE)(bench)
app.command("demo", rich_help_panel=_SERVICE)(demo)
