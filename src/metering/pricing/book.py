"""All models, and what each costs from one instant until another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from metering.clock import iso_utc
from metering.errors import ConfigurationError
from metering.pricing.version import PriceVersion, version_at

__all__ = ["PriceBook", "PricedModel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedModel:
    """A model and its prices over time.

    Attributes:
        name: As requests name it.
        versions: Its prices, oldest first, without overlap or gap.
        reasoning: Whether it reasons before it answers: tiers may have a cap of their
            own for that.
        context_tokens_max: Context length; None if unknown.
        compute_ms_max: Longest compute time of one call, held for time prices.
        audio_ms_max: Longest audio of one call, held for prices of audio.

    Raises:
        ConfigurationError: Versions overlap, leave a gap or belong to another model,
            or a price of time or audio lacks its `compute_ms_max` or `audio_ms_max`.
    """

    name: str
    versions: tuple[PriceVersion, ...]
    reasoning: bool = False
    context_tokens_max: int | None = None
    compute_ms_max: int | None = None
    audio_ms_max: int | None = None

    def __post_init__(self) -> None:
        for version in self.versions:
            if version.model != self.name:
                raise ConfigurationError(
                    f"A price of {version.model!r} is listed under {self.name!r}."
                )
            if "compute_ms" in version.rates and not self.compute_ms_max:
                raise ConfigurationError(
                    f"{self.name!r} is priced by time, so it needs compute_ms_max:"
                    " the longest call, which is held until the actual time is known."
                )
            if "audio_ms" in version.rates and not self.audio_ms_max:
                raise ConfigurationError(
                    f"{self.name!r} is priced by audio, so it needs audio_ms_max: the"
                    " longest audio of a call, held until its actual length is known."
                )
        for earlier, later in zip(self.versions, self.versions[1:], strict=False):
            if earlier.valid_to_ns != later.valid_from_ns:
                raise _not_adjoining(earlier, later)

    def at(self, instant_ns: int) -> PriceVersion | None:
        """Return the price in force at that instant, or None: never a price of 0."""
        return version_at(self.versions, instant_ns)


def _not_adjoining(earlier: PriceVersion, later: PriceVersion) -> ConfigurationError:
    end_ns, start_ns = earlier.valid_to_ns, later.valid_from_ns
    fault = "overlap" if end_ns is None or end_ns > start_ns else "leave a gap"
    ends = "never ends" if end_ns is None else f"ends at {iso_utc(end_ns)}"
    return ConfigurationError(
        f"Two prices of {later.model!r} {fault}: one {ends}, the next starts at"
        f" {iso_utc(start_ns)}. Let one start where the other ends."
    )


class PriceBook:
    """All models and their prices. Immutable; a lookup is one dict access.

    Args:
        models: The models, each name once.
        aliases: Other names by which requests may call a model.

    Raises:
        ConfigurationError: A name is given twice, or an alias leads nowhere.
    """

    __slots__ = ("_by_name", "models")

    def __init__(
        self, models: Iterable[PricedModel], aliases: Mapping[str, str] | None = None
    ) -> None:
        self.models = tuple(models)
        self._by_name: dict[str, PricedModel] = {}
        for model in self.models:
            if model.name in self._by_name:
                raise ConfigurationError(f"Model {model.name!r} is listed twice.")
            self._by_name[model.name] = model
        for alias, name in (aliases or {}).items():
            if alias in self._by_name or name not in self._by_name:
                raise ConfigurationError(
                    f"Alias {alias!r} of {name!r}: a new name for a listed model."
                )
            self._by_name[alias] = self._by_name[name]

    def model(self, name: str) -> PricedModel | None:
        """Return the model of that name or alias, or None."""
        return self._by_name.get(name)

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Return by the name of each model that has some the others it is called."""
        found: dict[str, tuple[str, ...]] = {}
        for alias, model in self._by_name.items():
            if alias != model.name:
                found[model.name] = (*found.get(model.name, ()), alias)
        return found

    def checked_name(self, name: str, at: str) -> str:
        """Return *name* if a model is called so, and not only known by it.

        Args:
            name: The name.
            at: What it was given for; the error begins with it.

        Raises:
            ConfigurationError: There is no such model, or it is an alias.
        """
        model = self._by_name.get(name)
        if model is not None and model.name == name:
            return name
        reason = "There is no such model in the plan."
        if model is not None:
            reason = f"It is an alias: write {model.name!r}."
        raise ConfigurationError(f"{at} cannot be used. {reason}")

    def versions(self) -> list[PriceVersion]:
        """Return every version of every model."""
        return [version for model in self.models for version in model.versions]
