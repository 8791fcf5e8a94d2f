"""Where a command works: the plan of the service, its ledger, and how to answer."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from anyio import to_thread

from metering.cli.output import Output
from metering.config import Plan, plan_from_env
from metering.errors import ConfigurationError
from metering.stores import Ledger

if TYPE_CHECKING:
    from metering.metering import Metering

__all__ = ["Desk"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_FILE = "sqlite:///"


class Desk:
    """Opens what a command asks for, and nothing else.

    Neither the lock of the data home nor its journal is taken, so that a command can
    work beside a running service: both write to the ledger, one after the other.

    Args:
        config: The plan as METERING_CONFIG names it.
        data: The data home; "" for the plan's.
        output: How to answer.
        environ: The environment, of which the two above win.
    """

    def __init__(
        self, config: str, data: str, output: Output, environ: Mapping[str, str]
    ) -> None:
        self.output = output
        named = {"METERING_CONFIG": config, "METERING_DATA": data}
        self.environ = {**environ, **{name: v for name, v in named.items() if v}}
        self._meter: Metering | None = None

    @cached_property
    def plan(self) -> Plan:
        """The plan.

        Raises:
            ConfigurationError: None is named, or it cannot be used.
        """
        if not self.environ.get("METERING_CONFIG"):
            raise ConfigurationError(
                "No plan is named. Name one by --config or METERING_CONFIG: a TOML file"
                ' or "preset:friendli"; `metering init` writes a file to begin with.'
            )
        return plan_from_env(self.environ)

    @property
    def meter(self) -> "Metering":
        """The operator's side of the service; its ledger is made if it is absent."""
        # Help and completion have no use for SQLAlchemy, which takes a while to import.
        from metering.metering import Metering  # noqa: PLC0415

        if self._meter is None:
            self._meter = Metering(self.plan)
        return self._meter

    def choose(self, config: str) -> None:
        """Work on another plan than the one that was named; before anything else."""
        self.environ["METERING_CONFIG"] = config

    @property
    def ledger_url(self) -> str:
        """Where the ledger is: a path, or a URL that may hold a password."""
        return self.plan.ledger or str(self.meter.data / "ledger.db")

    def plan_of(self, source: str) -> Plan:
        """Return another plan, such as one to compare with.

        Raises:
            ConfigurationError: It cannot be used.
        """
        return plan_from_env({"METERING_CONFIG": source})

    def ledger_missing(self) -> Path | None:
        """Return the file that the ledger should be, if it is not there."""
        named = self.ledger_url
        if "://" in named and not named.startswith(_FILE):
            return None
        path = Path(named.removeprefix(_FILE))
        return None if path.exists() else path

    @property
    def opened(self) -> "Metering":
        """The same, where the ledger must be there: for commands that look things up.

        Raises:
            ConfigurationError: The ledger is a file that does not exist.
        """
        path = self.ledger_missing()
        if path is not None:
            raise ConfigurationError(
                f"There is no ledger at {path}. Name the data home of the service by"
                " --data or METERING_DATA; where there is none yet, the service makes"
                " it when it starts, and `metering accounts create` does too."
            )
        return self.meter

    @property
    def ledger(self) -> Ledger:
        """The ledger, to be read by `read`."""
        return self.opened.ledger

    async def read(
        self, of: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Return what a method of the ledger returns; it runs in a worker thread."""
        return await to_thread.run_sync(partial(of, *args, **kwargs))

    def note_reach(self) -> None:
        """Say when a running service sees a change of an account, a key or credit."""
        self.output.note("A running service sees this within a second.")

    async def close(self) -> None:
        """Give back what was opened."""
        if self._meter is not None:
            await self._meter.stop()
            await to_thread.run_sync(self._meter.ledger.close)
