"""From a credential to an account, its tier and what it may do, read once a while."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

import anyio
import structlog
from anyio import to_thread

from metering.accounts import Account, ModelClass, Tier, TierBook, TokenPrices, hash_key
from metering.clock import NS_PER_S, Clock
from metering.errors import AccountNotFoundError, StorageError
from metering.ledger import CreditState
from metering.quota import Demand, RateQuota
from metering.stores import Ledger, Snapshots
from metering.usage import FundingMode

__all__ = ["Resolved", "TierResolver", "resolved"]

SIZE_MAX = 100_000
"""Credentials remembered; the oldest leaves first."""

LAST_KNOWN_NS = 300 * NS_PER_S
"""How long after its time an answer serves while the ledger is down."""

_log = structlog.get_logger("metering")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A caller, as every piece sees it for one call.

    Attributes:
        account: Who is billed.
        key_id: Which key was shown; "" where the app vouched for the account.
        revoked: Whether that key no longer counts.
        tier: The tier just then.
        requests: One request's demands on the request quotas, by model class.
        output_tokens_max: Cap of one output, in tokens.
        usage_limit_p: Monthly limit in pico-dollars, or None.
        funding: Whether only granted credit may be spent.
        credit: The account's credit when it was read.
        prices: Token prices agreed with the account, by model.
        good_until_ns: When to read it again.
    """

    account: Account
    key_id: str
    revoked: bool
    tier: Tier
    requests: Mapping[ModelClass, tuple[Demand, ...]]
    output_tokens_max: int
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
    good_until_ns: int,
    key_id: str = "",
    revoked: bool = False,
) -> Resolved:
    """Return what *account* may do: its tier, and over it what was agreed. Pure."""
    tier = tiers.tier_of(account)
    agreed = account.overrides
    quotas = dict(tier.requests)
    quotas.update({kind: (rate.quota(),) for kind, rate in agreed.requests.items()})
    limit = agreed.usage_limit_p
    cap = agreed.output_tokens_max
    if credit.changes_ns is not None:
        good_until_ns = min(good_until_ns, credit.changes_ns)
    return Resolved(
        account=account,
        key_id=key_id,
        revoked=revoked,
        tier=tier,
        requests={
            kind: tuple(_request(f"{{{account.id}}}:rpm:{kind}", rates))
            for kind, rates in quotas.items()
        },
        output_tokens_max=tier.output_tokens_max if cap is None else cap,
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


class TierResolver:
    """Resolves credentials, with a bounded memory and one read at a time for each.

    Args:
        ledger: Where accounts and keys are; asked in a worker thread.
        tiers: The tier book.
        clock: The node's clock.
        ttl_ns: How long an answer is good for.
        pepper: Secret under which keys are hashed; empty for none.
        snapshots: A second level that processes share, or None.
    """

    def __init__(
        self,
        ledger: Ledger,
        tiers: TierBook,
        *,
        clock: Clock,
        ttl_ns: int = 30 * NS_PER_S,
        pepper: bytes = b"",
        snapshots: Snapshots | None = None,
    ) -> None:
        self._ledger = ledger
        self._tiers = tiers
        self._clock = clock
        self._ttl_ns = ttl_ns
        self._pepper = pepper
        self._snapshots = snapshots
        self._known: dict[str, Resolved] = {}
        self._flights: dict[str, anyio.Event] = {}
        self._changes = 0

    async def by_key(self, secret: bytes, *, fresh: bool = False) -> Resolved | None:
        """Return who shows *secret*, or None if nobody has it.

        Args:
            secret: The credential as sent.
            fresh: Whether what is remembered is too old to be asked.

        Raises:
            StorageError: The ledger is down and nothing is remembered.
        """
        key_hash = hash_key(secret, self._pepper)
        name = f"key:{key_hash}"
        known = self._known.get(name)
        if known is not None and not fresh and self._clock() < known.good_until_ns:
            return known

        async def load() -> Resolved | None:
            return await self._load_key(key_hash, fresh=fresh)

        return await self._through_memory(name, load, fresh=fresh)

    async def by_account(
        self, account_id: str, *, fresh: bool = False
    ) -> Resolved | None:
        """Return an account that the app vouches for, or None if there is none.

        Raises:
            StorageError: The ledger is down and nothing is remembered.
        """

        async def load() -> Resolved | None:
            return await to_thread.run_sync(self._load_account, account_id)

        return await self._through_memory(f"account:{account_id}", load, fresh=fresh)

    def forget(self, account_id: str) -> None:
        """Read the account again at its next call."""
        self._changes += 1
        for name, known in list(self._known.items()):
            if known.account.id == account_id:
                del self._known[name]

    async def forget_key(self, key_hash: str) -> None:
        """Read a key again at its next call, in every process that shares snapshots."""
        self._changes += 1
        self._known.pop(f"key:{key_hash}", None)
        if self._snapshots is not None:
            await self._snapshots.drop(key_hash)

    async def _through_memory(
        self, name: str, load: Callable[[], Awaitable[Resolved | None]], *, fresh: bool
    ) -> Resolved | None:
        while True:
            known = self._known.get(name)
            if known is not None and not fresh and self._clock() < known.good_until_ns:
                return known
            flight = self._flights.get(name)
            if flight is None:
                break
            await flight.wait()
            fresh = False
        self._flights[name] = flight = anyio.Event()
        try:
            return await self._read(name, load, known)
        finally:
            # Whoever waited looks again: this read may have been cancelled.
            del self._flights[name]
            flight.set()

    async def _read(
        self,
        name: str,
        load: Callable[[], Awaitable[Resolved | None]],
        known: Resolved | None,
    ) -> Resolved | None:
        changes = self._changes
        try:
            found = await load()
        except StorageError as error:
            if known is None or self._clock() > known.good_until_ns + LAST_KNOWN_NS:
                raise
            _log.warning("ledger_down_last_known_used", error=str(error))
            return known
        if found is None:
            self._known.pop(name, None)
        elif changes == self._changes:
            # Else something changed while it was read, and the old must not stick.
            self._remember(name, found)
        return found

    def _remember(self, name: str, found: Resolved) -> None:
        self._known.pop(name, None)
        if len(self._known) >= SIZE_MAX:
            del self._known[next(iter(self._known))]
        self._known[name] = found

    async def _load_key(self, key_hash: str, *, fresh: bool) -> Resolved | None:
        record = None
        if self._snapshots is not None and not fresh:
            record = await self._snapshots.get(key_hash)
        now_ns = self._clock()
        if record is None:
            record = await to_thread.run_sync(
                lambda: self._ledger.find_key(key_hash, now_ns=now_ns)
            )
            if record is None:
                return None
            if self._snapshots is not None:
                await self._snapshots.put(key_hash, record, ttl_ns=self._ttl_ns)
        return resolved(
            record.account,
            record.credit,
            self._tiers,
            good_until_ns=now_ns + self._ttl_ns,
            key_id=record.key.id,
            revoked=record.key.revoked_ns is not None,
        )

    def _load_account(self, account_id: str) -> Resolved | None:
        now_ns = self._clock()
        try:
            account = self._ledger.get(account_id)
        except AccountNotFoundError:
            return None
        credit = self._ledger.credit(account_id, now_ns=now_ns)
        return resolved(
            account, credit, self._tiers, good_until_ns=now_ns + self._ttl_ns
        )
