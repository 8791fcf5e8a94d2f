"""A plan in words, beside its tiers and models: how calls are treated, who is told."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from metering.cli.values import dollars
from metering.clock import NS_PER_MS, NS_PER_S
from metering.config import Plan
from metering.errors import without_credentials
from metering.platform import PlatformSettings

__all__ = [
    "adaptive_document",
    "adaptive_words",
    "call_words",
    "notice_words",
    "outage_words",
]

_CLAMP = {
    "cap": "is lowered to the cap",
    "strict": "is refused",
    "fit": "is lowered to the cap, and to what is paid for",
}
_MISSING = {
    "estimate": "its usage is estimated",
    "fail": "what was held for it is charged",
    "free": "nothing is charged",
}
_ON_OUTAGE = {
    "refuse": "are refused",
    "local_share": "are granted out of this node's share",
}


def call_words(plan: Plan) -> Iterator[str]:
    """Yield what a new account gets, and how every call is treated."""
    if plan.sign_up_credit_p:
        yield f"A new account is given {dollars(plan.sign_up_credit_p)} of credit."
    yield (
        f"Months begin on day {plan.anchor_day} at midnight in {plan.time_zone}, and"
        f" may be closed {plan.settle_ns // (3600 * NS_PER_S)} hours after their end."
    )
    yield f"A request for more output than its tier has {_CLAMP[plan.clamp]}."
    yield f"If an answer does not tell its usage, {_MISSING[plan.missing_usage]}."
    gone = "the app is told at once"
    if plan.on_client_gone == "drain":
        gone = f"the app has {plan.drain_ns // NS_PER_S} s to end"
    yield f"If a client goes away, {gone}; what was made until then is charged."
    for path, dialect in plan.routes.items():
        left_alone = dialect == "none"
        yield f"{path} {'is left alone' if left_alone else f'speaks {dialect}'}."


def adaptive_words(plan: Plan) -> Iterator[str]:
    """Yield what "adaptive" means in this plan; nothing where no tier is."""
    platform = plan.adaptive
    if platform is None:
        return
    pool = platform.pool
    who = [
        f"{tier.name} ({' and '.join(sorted(tier.adaptive, reverse=True))} models)"
        for tier in plan.tiers.tiers
        if tier.adaptive
    ]
    yield f"Requests are adaptive in {', '.join(who)}."
    yield (
        f"Each such account may make {pool.ceiling_rpm:g} requests a minute to each"
        " pool while nothing is short there. As calls begin to wait for their first"
        f" byte that falls, for all alike, and never below {pool.floor_rpm:g}; answers"
        " tell it in their headers."
    )
    target_ns = pool.first_byte_target_ns
    target = "what is learned from the pool at rest"
    if target_ns is not None:
        target = f"{target_ns // NS_PER_MS:,} ms"
    yield f"Adaptive calls may bring the time to the first byte to {target}."
    yield from _patience(plan, platform)
    for name, models in _pools(platform).items():
        if models != [name]:
            yield f"Pool {name} is of {', '.join(models)}.{_gauge(platform, name)}"
    alone = [name for name, models in _pools(platform).items() if models == [name]]
    if alone:
        others = "Each other" if len(alone) < len(platform.pools) else "Each"
        yield f"{others} model is a pool of its own."


def _patience(plan: Plan, platform: PlatformSettings) -> Iterator[str]:
    """Yield what comes to tiers that are not adaptive when there is too little."""
    classes = platform.pool.classes
    spare = classes[0]
    if spare.wait_max_ns:
        yield (
            "Adaptive calls inside their limits wait up to"
            f" {spare.wait_max_ns / NS_PER_S:g} s, unbilled, before they are refused as"
            " platform_busy."
        )
    held_back = [
        f"{tier.name} at {one.delay_ns / NS_PER_S:.1f} s"
        for tier, one in (
            (tier, classes[platform.classes[tier.level]])
            for tier in plan.tiers.tiers
            if tier.requests or not tier.adaptive
        )
    ]
    if held_back:
        yield (
            "All others keep their limits, and are held back only when calls wait so"
            f" much longer than at rest: {', '.join(held_back)}. They wait as long, but"
            " for the highest tier, which is refused at once."
        )


def adaptive_document(plan: Plan) -> dict[str, object] | None:
    """Return the same as `--json` writes it; None where no tier is adaptive."""
    platform = plan.adaptive
    if platform is None:
        return None
    pool = platform.pool
    target_ns = pool.first_byte_target_ns
    return {
        "floor_rpm": f"{pool.floor_rpm:g}",
        "ceiling_rpm": f"{pool.ceiling_rpm:g}",
        "first_byte_target_ms": None if target_ns is None else target_ns // NS_PER_MS,
        "wait_max_ms": pool.classes[0].wait_max_ns // NS_PER_MS,
        "pools": [
            {"name": name, "models": models, "gauges": name in platform.gauges}
            for name, models in _pools(platform).items()
        ],
    }


def _pools(platform: PlatformSettings) -> Mapping[str, list[str]]:
    pools: dict[str, list[str]] = defaultdict(list)
    for model, name in platform.pools.items():
        pools[name].append(model)
    return pools


def _gauge(platform: PlatformSettings, name: str) -> str:
    url = platform.gauges.get(name)
    return "" if url is None else f" Its queue is read at {without_credentials(url)}."


def notice_words(plan: Plan) -> Iterator[str]:
    """Yield when accounts are alerted, and where what is told."""
    settings = plan.notices
    if settings.thresholds:
        shares = ", ".join(f"{share} %" for share in settings.thresholds)
        yield f"Accounts are alerted at {shares} of a usage limit, or of their credit."
    else:
        yield "Accounts are not alerted."
    for hook in settings.webhooks:
        by = "" if hook.secret_env is None else f", by the secret of {hook.secret_env}"
        yield f"{hook.destination} is sent {', '.join(hook.kinds)}, signed{by}."
    if settings.stream.nats is not None:
        yield f"Each call is published to NATS as {settings.stream.subject}."


def outage_words(plan: Plan) -> Iterator[str]:
    """Yield what becomes of calls while limits that are shared do not answer."""
    store = plan.limits_store or "memory://"
    if store.startswith("memory:"):
        return
    outage = plan.outage
    is_file = store.startswith("sqlite:")
    rates = outage.rates or ("refuse" if is_file else "local_share")
    yield (
        f"Calls that take requests, tokens or slots {_ON_OUTAGE[rates]}; calls that"
        f" also take money {_ON_OUTAGE[outage.money]}."
    )
    if "local_share" in {rates, outage.money}:
        share = f"one part in {outage.nodes:,}, for so many nodes there are"
        if outage.nodes == 1:
            share = "all, for there is one: if there are more, [outage] nodes must say"
        yield f"That share is {share}."
    if outage.deadline_ms is not None:
        yield f"The store counts as away after {outage.deadline_ms:,} ms."
