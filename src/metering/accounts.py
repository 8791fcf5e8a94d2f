"""Who is billed, what they may do, and how they prove who they are."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypedDict

import msgspec

from metering.errors import ConfigurationError
from metering.money import AMOUNT_MAX_P, checked, format_usd
from metering.quota import RateQuota
from metering.usage import FundingMode

__all__ = [
    "Account",
    "AgreedPrices",
    "Agreement",
    "ApiKey",
    "Falls",
    "ModelClass",
    "Overrides",
    "RateOverride",
    "RequestRate",
    "Tier",
    "TierBook",
    "TokenPrices",
    "checked_account_id",
    "hash_key",
    "new_secret",
]

Falls = Literal["period_end", "immediate", "never"]
"""When an account loses a tier that it no longer has paid enough for: at the end of its
period, at once, or never. It always loses at once what a payment method gave it."""

ModelClass = Literal["paid", "free"]
"""Free models have request limits of their own."""

KEY_PREFIX = "mk-"
_SECRET_BYTES = 32
_ID_CHARS_MAX = 200
_STORE_CHARS = frozenset("{}: ")
_TOKENS_MAX = 1_000_000_000


class RateOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request limit agreed with one account: *amount* per *per_ns*."""

    amount: int
    per_ns: int
    burst: int | None = None

    def quota(self) -> RateQuota:
        """The quota it stands for.

        Raises:
            ConfigurationError: A value is out of range.
        """
        return RateQuota(self.amount, self.per_ns, self.burst)


class TokenPrices(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A token price agreed with one account: pico-dollars per *per* tokens."""

    input_p: int
    output_p: int
    per: int = 1


class RequestRate(TypedDict):
    """A request limit whose burst differs from its rate, as in a plan.

    Attributes:
        rate: Such as "2000/minute".
        burst: Requests that may come at once.
    """

    rate: str
    burst: int


class AgreedPrices(TypedDict):
    """Dollars per 1M tokens, as in a plan.

    Attributes:
        input: For tokens read, such as "0.5".
        output: For tokens written.
    """

    input: str | int | Decimal
    output: str | int | Decimal


class Agreement(TypedDict, total=False):
    """What was agreed with one account, as a plan would write it.

    Attributes:
        output_tokens_max: Output cap per request, such as "32K", of all models.
        reasoning_output_tokens_max: The same of models that reason, where it differs.
        usage_limit: Monthly limit in dollars, such as "500".
        requests: Request limits by model class, such as {"paid": "2000/minute"}.
        prices: Token prices by model: dollars per 1M tokens.
    """

    output_tokens_max: str | int | None
    reasoning_output_tokens_max: str | int | None
    usage_limit: str | int | Decimal | None
    requests: Mapping[ModelClass, str | RequestRate] | None
    prices: Mapping[str, AgreedPrices] | None


class Overrides(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What was agreed with one account; None leaves the tier's own value.

    Attributes:
        output_tokens_max: Output cap per request, in tokens, of all models.
        reasoning_output_tokens_max: The same of models that reason, where it differs.
        usage_limit_p: Monthly limit in pico-dollars.
        requests: Request limits by model class.
        prices: Token prices by model.
    """

    output_tokens_max: int | None = None
    reasoning_output_tokens_max: int | None = None
    usage_limit_p: int | None = None
    requests: dict[ModelClass, RateOverride] = {}
    prices: dict[str, TokenPrices] = {}

    def checked(self) -> "Overrides":
        """Return the overrides if every call can be held to them.

        Raises:
            ConfigurationError: Names the field, its value and what is allowed.
        """
        try:
            # What is read back is checked by type, and so is what is written.
            msgspec.json.decode(msgspec.json.encode(self), type=Overrides)
        except (msgspec.MsgspecError, TypeError, OverflowError, ValueError) as error:
            raise ConfigurationError(f"Overrides cannot be used: {error}.") from None
        for name in ("output_tokens_max", "reasoning_output_tokens_max"):
            cap = getattr(self, name)
            if cap is not None:
                _check_int(name, cap, 1, _TOKENS_MAX)
        if self.usage_limit_p is not None:
            _check_int("usage_limit_p", checked(self.usage_limit_p), 0, AMOUNT_MAX_P)
        for kind, rate in self.requests.items():
            _check_int(f"requests[{kind!r}].per_ns", rate.per_ns, 1, 2**63 - 1)
            try:
                rate.quota()
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"Overrides: requests[{kind!r}] cannot be used. {error}"
                ) from None
        for model, prices in self.prices.items():
            at = f"prices[{model!r}]"
            _check_int(f"{at}.input_p", prices.input_p, 0, AMOUNT_MAX_P)
            _check_int(f"{at}.output_p", prices.output_p, 0, AMOUNT_MAX_P)
            _check_int(f"{at}.per", prices.per, 1, _TOKENS_MAX)
        return self


def _check_int(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ConfigurationError(
            f"Overrides: {name} = {value!r} cannot be used. Allowed: an int from"
            f" {least:,} to {most:,}."
        )


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who is billed.

    Attributes:
        id: The operator's own name for the account, unique.
        created_ns: When it was created.
        payment_method: Whether a valid payment method is on file.
        lifetime_paid_p: Settled payments ever made; promotional credit counts 0.
        pin: A tier level set by agreement; it wins over qualification, as long as the
            plan has that level.
        overrides: What else was agreed.
        suspended: Whether every call is refused.
        version: Grows with each change, so that an old snapshot can be told.
        credit_epoch: Grows when the account turns to or from credit alone.
        time_zone: IANA name of the zone in which its months begin.
        anchor_day: Day of the month, 1 to 31, on which they begin.
        kept_tier: A level it keeps though what it paid does not suffice, or None.
        kept_until_ns: First instant at which it keeps that level no longer; None where
            it keeps it until it qualifies anew.
    """

    id: str
    created_ns: int
    payment_method: bool = False
    lifetime_paid_p: int = 0
    pin: int | None = None
    overrides: Overrides = Overrides()
    suspended: bool = False
    version: int = 1
    credit_epoch: int = 0
    time_zone: str = "UTC"
    anchor_day: int = 1
    kept_tier: int | None = None
    kept_until_ns: int | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A credential that points to an account. The secret itself is never kept.

    Attributes:
        id: Names the key where its secret must not appear.
        account_id: Whose it is.
        hash: SHA-256 of the secret, as hex.
        hint: The last four characters, to tell keys apart by sight.
        created_ns: When it was issued.
        revoked_ns: When it was revoked; None while it is good.
        usage_limit_p: What calls with it may cost in a period, in pico-dollars, within
            the account's own limit; None for no limit of its own.
    """

    id: str
    account_id: str
    hash: str
    hint: str
    created_ns: int
    revoked_ns: int | None = None
    usage_limit_p: int | None = None


def checked_account_id(account_id: object) -> str:
    """Return *account_id* if an account may be called so.

    Raises:
        ConfigurationError: It is no string of 1 to 200 printable characters, or has
            some that keys of stores are made of.
    """
    if (
        isinstance(account_id, str)
        and 0 < len(account_id) <= _ID_CHARS_MAX
        and account_id.isprintable()
        and not _STORE_CHARS & set(account_id)
    ):
        return account_id
    raise ConfigurationError(
        f"Account id {account_id!r} must be a string of 1 to {_ID_CHARS_MAX} printable"
        " characters, without spaces, braces or colons."
    )


def new_secret() -> str:
    """Return a fresh API key: a prefix and 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def hash_key(secret: bytes, pepper: bytes = b"") -> str:
    """Return what is stored of a key: SHA-256, or HMAC-SHA-256 under a pepper.

    A slow password hash would protect nothing here: the secret has 256 random bits.
    """
    if pepper:
        return hmac.digest(pepper, secret, "sha256").hex()
    return hashlib.sha256(secret).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A named bundle of quotas and caps, and how one qualifies for it.

    Attributes:
        level: Rank; a higher one is better.
        name: What people call it.
        lifetime_paid_min_p: Settled payments it takes; None: only a pin leads here.
        payment_method: Whether a payment method is enough or needed to qualify.
        requests: Request quotas by model class.
        adaptive: Model classes whose requests get what the platform can spare.
        output_tokens_max: Tokens that one request may write, over all its outputs each.
        reasoning_output_tokens_max: The same of models that reason; None: no other.
        usage_limit_p: Monthly limit in pico-dollars; None for no monthly limit.
        funding: `credit` if only granted credit may be spent.
    """

    level: int
    name: str
    lifetime_paid_min_p: int | None = 0
    payment_method: bool = False
    requests: dict[ModelClass, tuple[RateQuota, ...]] = field(default_factory=dict)
    adaptive: frozenset[ModelClass] = frozenset()
    output_tokens_max: int
    reasoning_output_tokens_max: int | None = None
    usage_limit_p: int | None = None
    funding: FundingMode = "postpaid"


@dataclass(frozen=True, slots=True)
class TierBook:
    """The tiers of a plan, lowest first, and the rule that places an account.

    Attributes:
        tiers: The tiers, lowest first.
        falls: What a payment that is taken back does to the tier it had led to.

    Raises:
        ConfigurationError: There is no tier, levels or thresholds do not rise, or
            nobody qualifies for the lowest.
    """

    tiers: tuple[Tier, ...]
    falls: Falls = "period_end"

    def __post_init__(self) -> None:
        if not self.tiers:
            raise ConfigurationError("A tier book needs at least one tier.")
        first, last_min = self.tiers[0], -1
        if first.lifetime_paid_min_p != 0 or first.payment_method:
            raise ConfigurationError(
                f"Tier {first.name!r} is the lowest, so everyone must qualify for it:"
                " give it a lifetime spend of 0 and no payment method."
            )
        for lower, tier in zip((None, *self.tiers), self.tiers, strict=False):
            if lower is not None and tier.level <= lower.level:
                raise ConfigurationError(
                    f"Tier {tier.name!r} has level {tier.level}, not above the"
                    f" {lower.level} of {lower.name!r}. List tiers lowest first."
                )
            if tier.lifetime_paid_min_p is None:
                continue
            if tier.lifetime_paid_min_p < last_min:
                raise ConfigurationError(
                    f"Tier {tier.name!r} takes ${format_usd(tier.lifetime_paid_min_p)},"
                    f" less than a lower tier's ${format_usd(last_min)}."
                )
            last_min = tier.lifetime_paid_min_p

    def tier_of(self, account: Account, instant_ns: int) -> Tier:
        """Return the tier of *account* at an instant.

        It is its pin, or the highest it qualifies for, or the one it keeps until then.
        A pin to a level that has left the plan counts as none, and so does a kept one.
        """
        best = self.tiers[0]
        for tier in self.tiers:
            if tier.level == account.pin:
                return tier
            if _qualifies(account, tier) or _keeps(account, tier, instant_ns):
                best = tier
        return best

    def lacks_pin_of(self, account: Account) -> bool:
        """Whether *account* is pinned to a level that this book lacks."""
        return account.pin is not None and all(
            tier.level != account.pin for tier in self.tiers
        )

    def by_level(self, level: int) -> Tier:
        """Return the tier of that level.

        Raises:
            ConfigurationError: There is none.
        """
        for tier in self.tiers:
            if tier.level == level:
                return tier
        known = ", ".join(str(tier.level) for tier in self.tiers)
        raise ConfigurationError(f"There is no tier {level}; the levels are {known}.")

    def next_above(self, tier: Tier) -> Tier | None:
        """Return the next tier that can be reached by paying, or None at the top."""
        for other in self.tiers:
            if other.level > tier.level and other.lifetime_paid_min_p is not None:
                return other
        return None


def _qualifies(account: Account, tier: Tier) -> bool:
    if tier.lifetime_paid_min_p is None:
        return False
    if account.lifetime_paid_p < tier.lifetime_paid_min_p:
        return False
    return account.payment_method or not tier.payment_method


def _keeps(account: Account, tier: Tier, instant_ns: int) -> bool:
    """Whether a payment that was taken back has not yet cost the account its tier."""
    if tier.level != account.kept_tier:
        return False
    if account.kept_until_ns is not None and instant_ns >= account.kept_until_ns:
        return False
    return account.payment_method or not tier.payment_method
