"""Models that must be warmed up before they answer: one warm-up, a bounded queue."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

import anyio

from metering.background import spawn
from metering.clock import NS_PER_S, Clock, system_clock
from metering.errors import ConfigurationError
from metering.log import Log

__all__ = ["ColdStart", "ModelStatus", "NotReady"]

ModelStatus = Literal["cold", "warming", "warm"]

MODELS_MAX = 1024
"""Models that are remembered; names come from clients, so there must be a bound."""

_log = Log()


@dataclass(frozen=True, slots=True)
class NotReady:
    """Why a call does not get its model, and when to try again."""

    reason: str
    retry_after_ns: int


@dataclass(slots=True)
class _Model:
    status: ModelStatus = "cold"
    running: int = 0
    used_ns: int = 0
    began_ns: int = 0
    took_ns: int = 0
    waiting: int = 0
    failed: str = ""
    ready: anyio.Event = field(default_factory=anyio.Event)


class ColdStart:
    """Warms models up, once however many calls ask for one.

    Args:
        warm_up: Makes a model ready; called with its name, by one call at a time for
            each model. It goes on though the call that caused it leaves.
        is_warm: Says whether a model is ready, where something else knows. None: it is
            warm after its warm-up, until nobody has used it for `idle_ns`.
        idle_ns: How long an unused model stays warm; None: as long as we run.
        waiting_max: Most calls that wait for one model.
        wait_max_ns: Longest wait of a call.
        usual_ns: How long a warm-up usually takes; the last one, once there was one.
        clock: The node's clock.

    Raises:
        ConfigurationError: A bound is not above 0.
    """

    def __init__(
        self,
        warm_up: Callable[[str], Awaitable[None]],
        *,
        is_warm: Callable[[str], bool] | None = None,
        idle_ns: int | None = None,
        waiting_max: int = 1000,
        wait_max_ns: int = 60 * NS_PER_S,
        usual_ns: int = 20 * NS_PER_S,
        clock: Clock = system_clock,
    ) -> None:
        if waiting_max < 1 or wait_max_ns < 1:
            raise ConfigurationError(
                f"waiting_max {waiting_max} and wait_max_ns {wait_max_ns} must be above"
                " 0: a cold model would never be reached."
            )
        self._warm_up = warm_up
        self._is_warm = is_warm
        self._idle_ns = idle_ns
        self._waiting_max = waiting_max
        self._wait_max_ns = wait_max_ns
        self._usual_ns = usual_ns
        self._clock = clock
        self._models: OrderedDict[str, _Model] = OrderedDict()

    def status(self, name: str) -> ModelStatus:
        """Return how ready a model is."""
        model = self._models.get(name)
        if model is not None and model.status == "warming":
            return "warming"
        if self._is_warm is not None:
            return "warm" if self._is_warm(name) else "cold"
        if model is None or model.status == "cold":
            return "cold"
        idle_ns = self._clock() - model.used_ns
        if self._idle_ns is None or model.running or idle_ns < self._idle_ns:
            return "warm"
        return "cold"

    def statuses(self) -> dict[str, ModelStatus]:
        """Return how ready each model is that was asked for lately."""
        return {name: self.status(name) for name in self._models}

    async def enter(self, name: str) -> NotReady | int:
        """Wait until a model is ready, and use it until `leave`.

        Returns:
            How long the call waited, in nanoseconds; or why it does not get the model.
        """
        status = self.status(name)
        model = self._remembered(name)
        waited_ns = 0
        if status != "warm":
            if model.waiting >= self._waiting_max:
                return NotReady(
                    f"{model.waiting} calls wait for model {name!r}, as many as may",
                    self._left_ns(model),
                )
            if status == "cold":
                self._begin(name, model)
            began_ns = self._clock()
            fault = await self._wait(name, model)
            if fault is not None:
                return fault
            waited_ns = self._clock() - began_ns
        model.running += 1
        model.used_ns = self._clock()
        return waited_ns

    def leave(self, name: str) -> None:
        """Use a model no longer."""
        model = self._models.get(name)
        if model is not None:
            model.running -= 1
            model.used_ns = self._clock()

    def _remembered(self, name: str) -> _Model:
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = _Model()
            for old in list(self._models)[: len(self._models) - MODELS_MAX]:
                kept = self._models[old]
                if not (kept.running or kept.waiting or kept.status == "warming"):
                    del self._models[old]
        self._models.move_to_end(name)
        return model

    def _begin(self, name: str, model: _Model) -> None:
        model.status = "warming"
        model.failed = ""
        model.began_ns = self._clock()
        model.ready = anyio.Event()
        _log.info("model_warming", model=name)

        async def run() -> None:
            try:
                await self._warm_up(name)
            except Exception as error:  # noqa: BLE001 - the operator's own code
                model.status = "cold"
                model.failed = f"{type(error).__name__}: {error}"
                _log.error("model_not_warmed", model=name, error=model.failed)
            else:
                model.status = "warm"
                model.used_ns = self._clock()
                model.took_ns = self._clock() - model.began_ns
                _log.info("model_warm", model=name, took_ms=model.took_ns // 10**6)
            finally:
                if model.status == "warming":
                    model.status = "cold"  # cancelled with its event loop
                model.ready.set()

        spawn(run)

    async def _wait(self, name: str, model: _Model) -> NotReady | None:
        model.waiting += 1
        try:
            with anyio.move_on_after(self._wait_max_ns / NS_PER_S):
                await model.ready.wait()
        finally:
            model.waiting -= 1
        if model.status == "warming":
            return NotReady(
                f"Model {name!r} is still being warmed up", self._left_ns(model)
            )
        if model.failed:
            return NotReady(f"Model {name!r} could not be warmed up", NS_PER_S)
        return None

    def _left_ns(self, model: _Model) -> int:
        """Return an estimate of how long the warm-up still takes; at least 1 s."""
        usual_ns = model.took_ns or self._usual_ns
        return max(NS_PER_S, model.began_ns + usual_ns - self._clock())
