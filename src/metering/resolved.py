"""What an account may do: its tier, and over it what was agreed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from metering.accounts import Account, ApiKey, ModelClass, Tier, TierBook, TokenPrices
from metering.ledger import CreditState
from metering.quota import Demand, RateQuota
from metering.usage import FundingMode

__all__ = ["Resolved", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A caller, as every piece sees it for one call.

    Attributes:
        account: Who is billed.
        key_id: Which key was shown; "" where the app vouched for the account.
        revoked: Whether that key no longer counts.
        key_limit_p: What calls with that key may cost in a period, or None.
        tier: The tier just then.
        requests: One request's demands on the request quotas, by model class.
        adaptive: Model classes whose request quota the platform decides.
        output_tokens_max: Cap of one output, in tokens.
        reasoning_output_tokens_max: The same of models that reason.
        usage_limit_p: Monthly limit in pico-dollars, or None.
        funding: Whether only granted credit may be spent.
        credit: The account's credit when it was read.
        prices: Token prices agreed with the account, by model.
        good_until_ns: When to read it again.
    """

    account: Account
    key_id: str
    revoked: bool
    key_limit_p: int | None
    tier: Tier
    requests: Mapping[ModelClass, tuple[Demand, ...]]
    adaptive: frozenset[ModelClass]
    output_tokens_max: int
    reasoning_output_tokens_max: int
    usage_limit_p: int | None
    funding: FundingMode
    credit: CreditState
    prices: Mapping[str, TokenPrices]
    good_until_ns: int


def resolved(
    account: Account,
    credit: CreditState,
    tiers: TierBook,
    *,
    now_ns: int,
    good_until_ns: int,
    key: ApiKey | None = None,
) -> Resolved:
    """Return what *account* may do: its tier, and over it what was agreed. Pure."""
    tier = tiers.tier_of(account, now_ns)
    agreed = account.overrides
    quotas = dict(tier.requests)
    quotas.update({kind: (rate.quota(),) for kind, rate in agreed.requests.items()})
    limit = agreed.usage_limit_p
    cap = agreed.output_tokens_max or tier.output_tokens_max
    # An agreed cap is one of all models, so it wins over the tier's for some.
    reasoning_caps = (
        agreed.reasoning_output_tokens_max,
        agreed.output_tokens_max,
        tier.reasoning_output_tokens_max,
    )
    if credit.changes_ns is not None:
        good_until_ns = min(good_until_ns, credit.changes_ns)
    if account.kept_until_ns is not None and now_ns < account.kept_until_ns:
        good_until_ns = min(good_until_ns, account.kept_until_ns)
    return Resolved(
        account=account,
        key_id="" if key is None else key.id,
        revoked=key is not None and key.revoked_ns is not None,
        key_limit_p=None if key is None else key.usage_limit_p,
        tier=tier,
        requests={
            kind: tuple(_request(f"{{{account.id}}}:rpm:{kind}", rates))
            for kind, rates in quotas.items()
        },
        adaptive=tier.adaptive.difference(agreed.requests),
        output_tokens_max=cap,
        reasoning_output_tokens_max=next(filter(None, reasoning_caps), cap),
        usage_limit_p=tier.usage_limit_p if limit is None else limit,
        funding=tier.funding,
        credit=credit,
        prices=agreed.prices,
        good_until_ns=good_until_ns,
    )


def _request(key: str, rates: tuple[RateQuota, ...]) -> Iterator[Demand]:
    for at, rate in enumerate(rates):
        if at:
            period = f"{rate.per_us // 1_000_000}s"
            yield Demand(f"{key}:{period}", rate, name=f"requests-{period}")
        else:
            yield Demand(key, rate, name="requests")
