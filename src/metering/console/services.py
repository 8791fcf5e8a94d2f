"""What the API stands on, and who looks at it."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from metering.clock import Clock
from metering.console.lane import in_lane
from metering.console.past_days import PastDays
from metering.console.past_pools import PastPools
from metering.console.problems import ProblemError
from metering.errors import ConfigurationError
from metering.limit_rules import LimitRule
from metering.observing import ServiceState
from metering.platform import Platform
from metering.pricing import PriceBook
from metering.registry import Accounts, Billing, Corrections
from metering.resolved import Resolved
from metering.stores import Ledger, LimitStore, WindowStore
from metering.tiers import TierResolver

__all__ = ["Services", "Viewer", "checked_token", "viewer_of"]

TOKEN_LENGTH_MIN = 32
_CREDENTIAL_LENGTH_MAX = 1024
_BEARER = "bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the API stands on.

    Attributes:
        accounts: Creates accounts, issues keys, sets tiers.
        billing: Payments, credit, invoices.
        corrections: Takes charges back, prices past calls anew.
        ledger: Where all of that is read; in worker threads.
        days: What all accounts used, of the same ledger.
        pools: What adaptive pools did, of the same ledger.
        prices: Knows models by their aliases.
        resolver: Knows keys.
        rules: The plan's limits beside those of tiers.
        limits: What is left of limits.
        windows: What is left of those that count in windows; None: there are none.
        platform: What adaptive limits are, and why; None where no tier is adaptive.
        look: Looks at the process itself.
        clock: The node's clock.
        ready: Awaited before the first look.
        operator_token: What an operator signs in by; None: there is no operator.
    """

    accounts: Accounts
    billing: Billing
    corrections: Corrections
    ledger: Ledger
    days: PastDays
    pools: PastPools
    prices: PriceBook
    resolver: TierResolver
    rules: Sequence[LimitRule]
    limits: LimitStore
    windows: WindowStore | None
    platform: Platform | None
    look: Callable[[], Awaitable[ServiceState]]
    clock: Clock
    ready: Callable[[], Awaitable[None]]
    operator_token: str | None


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks.

    Attributes:
        account_id: Whose key was shown; None: the operator's token.
        key_id: Which key it was; "" of an operator.
    """

    account_id: str | None
    key_id: str

    @classmethod
    def operator(cls) -> "Viewer":
        """Return who sees and changes every account."""
        return cls(None, "")

    @classmethod
    def of(cls, known: Resolved) -> "Viewer":
        """Return who showed a key that is known and was not revoked."""
        return cls(known.account.id, known.key_id)

    def sees(self, asked: str | None) -> str:
        """Return whose rows to show.

        Args:
            asked: The account that was named; None: none was.

        Raises:
            ProblemError: They are somebody else's, or an operator named nobody.
        """
        if self.account_id is None:
            if asked is None:
                raise ProblemError(
                    "invalid_request",
                    "An operator says whose rows to show: add ?account=ID.",
                )
            return asked
        if asked not in {None, self.account_id}:
            raise ProblemError(
                "not_allowed",
                f"The key is of account {self.account_id!r} and shows its rows alone."
                " Leave `account` out, or sign in by the operator's token.",
            )
        return self.account_id

    def sees_of_all(self, asked: str | None) -> str | None:
        """Return whose rows to show, where an operator may name nobody: None, all.

        Raises:
            ProblemError: They are somebody else's.
        """
        if self.account_id is None and asked is None:
            return None
        return self.sees(asked)

    def require_operator(self) -> None:
        """Go on if an operator looks.

        Raises:
            ProblemError: It is an account.
        """
        if self.account_id is not None:
            raise ProblemError(
                "not_allowed",
                "This is for operators: sign in by the token in METERING_OPERATOR_TOKEN"
                " of the service.",
            )


def checked_token(token: str | None) -> str | None:
    """Return the token of the operator; None, also of "", is nobody's.

    Raises:
        ConfigurationError: It could be guessed, or no header can hold it.
    """
    if not token:
        return None
    plain = token.isascii() and token.isprintable() and " " not in token
    if not plain or not TOKEN_LENGTH_MIN <= len(token) <= _CREDENTIAL_LENGTH_MAX:
        raise ConfigurationError(
            f"An operator token of {len(token)} characters cannot be used: who guesses"
            f" it sees and changes every account. Give {TOKEN_LENGTH_MIN} to"
            f" {_CREDENTIAL_LENGTH_MAX} letters and digits, such as"
            " `openssl rand -hex 32` prints, in METERING_OPERATOR_TOKEN."
        )
    return token


async def viewer_of(request: Request, services: Services) -> Viewer:
    """Return who looks.

    Raises:
        ProblemError: Nobody whom we know.
        StorageError: The ledger is down and nothing is remembered.
    """
    shown = request.headers.get("authorization", "")
    secret = shown[len(_BEARER) :].strip()[:_CREDENTIAL_LENGTH_MAX].encode("latin-1")
    if shown[: len(_BEARER)].lower() != _BEARER or not secret:
        raise ProblemError(
            "not_signed_in",
            "Sign in by an API key, or an operator by their token: send"
            " 'Authorization: Bearer KEY'.",
        )
    token = services.operator_token
    if token is not None and hmac.compare_digest(secret, token.encode()):
        return Viewer.operator()
    known = await in_lane(services.resolver.by_key, secret)
    if known is None or known.revoked:
        raise ProblemError(
            "not_signed_in", "The key is not known or was revoked. Ask for another."
        )
    return Viewer.of(known)
