"""From a TOML text, a file, a preset or the environment to a plan."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from metering.clock import NS_PER_S
from metering.config.adaptive import platform_settings
from metering.config.document import Document
from metering.config.limit_rules import limit_rules
from metering.config.notices import notice_settings
from metering.config.plan import JournalSettings, OutageSettings, Plan
from metering.config.price_book import price_book
from metering.config.schema import PlanFile, RouteTable
from metering.config.tier_book import tier_book
from metering.errors import ConfigurationError
from metering.ledger import checked_time_zone

__all__ = [
    "load_plan",
    "plan_from_env",
    "plan_from_file",
    "plan_from_preset",
    "preset_text",
    "with_environment",
]

_PRESET = "preset:"
_PRESETS = files("metering") / "presets"


def load_plan(text: str, *, source: str) -> Plan:
    """Return the plan that a TOML text describes.

    Args:
        text: The TOML text; `docs/reference/configuration.md` names every field.
        source: What errors call it, such as the path of its file.

    Raises:
        ConfigurationError: Names the source, the field, its value and what is allowed.
    """
    document = Document.from_toml(text, source)
    file = document.read(PlanFile)
    calls, journal = file.calls, file.journal
    tiers = tier_book(file.tiers, file.payments.on_refund, document)
    prices = price_book(file.models, document)
    with document.at("periods.time_zone"):
        checked_time_zone(file.periods.time_zone)
    return Plan(
        name=file.plan.name,
        tiers=tiers,
        prices=prices,
        adaptive=platform_settings(file.adaptive, tiers, prices, document),
        limits=limit_rules(file.limits, tiers, prices, document),
        sign_up_credit_p=file.credit.sign_up.pico,
        time_zone=file.periods.time_zone,
        anchor_day=file.periods.anchor_day,
        settle_ns=file.periods.settle_h * 3600 * NS_PER_S,
        anonymous=calls.anonymous,
        unpriced=calls.unpriced,
        unmetered=calls.unmetered,
        clamp=calls.clamp,
        missing_usage=calls.missing_usage,
        on_client_gone=calls.on_client_gone,
        drain_ns=calls.drain_s * NS_PER_S,
        body_bytes_max=calls.body_bytes_max.units,
        lease_ns=calls.lease_s * NS_PER_S,
        resolve_ttl_ns=calls.resolve_ttl_s * NS_PER_S,
        log_calls=calls.log,
        routes=_routes(file.routes, document),
        journal=JournalSettings(sync_ms=journal.sync_ms, durability=journal.durability),
        data=file.storage.data,
        ledger=file.storage.ledger,
        limits_store=file.storage.limits,
        windows_store=file.storage.windows,
        outage=OutageSettings(
            rates=file.outage.rates,
            money=file.outage.money,
            nodes=file.outage.nodes,
            deadline_ms=file.outage.deadline_ms,
        ),
        notices=notice_settings(file.alerts, file.webhooks, file.events, document),
        notes=file.plan.notes,
    )


def plan_from_file(path: str | Path) -> Plan:
    """Return the plan in a TOML file.

    Raises:
        ConfigurationError: The file cannot be read, or `load_plan` refuses it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The plan {str(path)!r} cannot be read: {error}. Name a TOML file in"
            f' UTF-8, or a preset as "{_PRESET}NAME".'
        ) from error
    return load_plan(text, source=str(path))


def plan_from_preset(name: str) -> Plan:
    """Return a plan that ships with the library.

    Raises:
        ConfigurationError: There is none of that name; names those there are.
    """
    return load_plan(preset_text(name), source=f"{_PRESET}{name}")


def preset_text(name: str) -> str:
    """Return the TOML of a plan that ships with the library.

    Raises:
        ConfigurationError: There is none of that name; names those there are.
    """
    # Compared with what is there, never joined into a path.
    texts = {
        entry.name.removesuffix(".toml"): entry
        for entry in _PRESETS.iterdir()
        if entry.name.endswith(".toml")
    }
    if name not in texts:
        near = get_close_matches(name, texts, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError(
            f"There is no preset {name!r}.{guess} The presets: {', '.join(texts)}."
        )
    return texts[name].read_text(encoding="utf-8")


def plan_from_env(environ: Mapping[str, str]) -> Plan:
    """Return the plan that the environment names.

    Args:
        environ: `METERING_CONFIG` is the path of a TOML file, or "preset:" and the
            name of a preset. The rest is read by `with_environment`.

    Raises:
        ConfigurationError: The variable is not set, or its plan cannot be used.
    """
    chosen = environ.get("METERING_CONFIG", "")
    if not chosen:
        raise ConfigurationError(
            "METERING_CONFIG is not set. Set it to the path of a TOML file, or to"
            f' "{_PRESET}friendli".'
        )
    if chosen.startswith(_PRESET):
        plan = plan_from_preset(chosen.removeprefix(_PRESET))
    else:
        plan = plan_from_file(chosen)
    return with_environment(plan, environ)


def with_environment(plan: Plan, environ: Mapping[str, str]) -> Plan:
    """Return *plan* with what differs from machine to machine, or is secret.

    Args:
        plan: The plan as written.
        environ: `METERING_DATA`, `METERING_LEDGER`, `METERING_LIMITS`,
            `METERING_WINDOWS` and `METERING_KEY_PEPPER`, where set and not empty,
            replace `data`, `ledger`, `limits_store`, `windows_store` and `key_pepper`;
            `METERING_NATS` and what webhooks name are secrets of `notices`.

    Raises:
        ConfigurationError: The secret of a webhook cannot be used.
    """
    pepper = environ.get("METERING_KEY_PEPPER", "")
    return replace(
        plan,
        data=environ.get("METERING_DATA") or plan.data,
        ledger=environ.get("METERING_LEDGER") or plan.ledger,
        limits_store=environ.get("METERING_LIMITS") or plan.limits_store,
        windows_store=environ.get("METERING_WINDOWS") or plan.windows_store,
        notices=plan.notices.with_environment(environ),
        # A variable need not be text: its bytes are taken as they are.
        key_pepper=pepper.encode(errors="surrogateescape") or plan.key_pepper,
    )


def _routes(tables: tuple[RouteTable, ...], document: Document) -> dict[str, str]:
    routes: dict[str, str] = {}
    for at, route in enumerate(tables):
        # A call finds its route whether or not its path ends with a slash.
        path = route.path.rstrip("/")
        if path in routes:
            raise document.fault(
                f"routes[{at}].path", "Another route has this path already."
            )
        routes[path] = route.dialect
    return routes
