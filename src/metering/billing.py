"""What a call may cost, which budget it draws on, and what it did cost."""

from dataclasses import dataclass
from functools import lru_cache

from metering.accounts import Account, ModelClass, TokenPrices
from metering.facts import RequestFacts
from metering.journal import Journal
from metering.ledger import Period
from metering.pricing import Leaf, PriceBook, PricedModel, PriceVersion, Rate
from metering.quota import BudgetQuota, Demand
from metering.resolved import Resolved
from metering.stores import BudgetFreed, LedgerReader
from metering.usage import UsageEvent

__all__ = ["Biller", "Quote", "affordable_output_tokens", "freed_demand"]

_OF_KEY = "key-"


@dataclass(frozen=True, slots=True)
class Quote:
    """The price that one call is held to, frozen at its admission.

    Attributes:
        model: The model, or None where it is not in the price book.
        price: The price in force, or None where there is none: recorded, not charged.
        agreed: Whether it was agreed on with the account, and is not in the book.
    """

    model: PricedModel | None
    price: PriceVersion | None
    agreed: bool = False

    @property
    def model_class(self) -> ModelClass:
        """Which request quota counts the call."""
        free = self.price is not None and self.price.kind == "free"
        return "free" if free else "paid"


class Biller:
    """Prices calls, and knows the budgets of an account.

    Args:
        prices: The price book.
        ledger: Where seeds of budgets are read.
        journal: Whose unposted charges belong to the seeds; None without one.
    """

    def __init__(
        self, prices: PriceBook, ledger: LedgerReader, journal: Journal | None
    ) -> None:
        self._prices = prices
        self._ledger = ledger
        self._journal = journal

    def model(self, name: str) -> PricedModel | None:
        """Return the model of that name or alias, or None."""
        return self._prices.model(name)

    def quote(self, name: str, caller: Resolved | None, now_ns: int) -> Quote:
        """Return the price of a model for that caller at that instant."""
        model = self._prices.model(name)
        if model is None:
            return Quote(None, None)
        agreed = None if caller is None else caller.prices.get(model.name)
        if agreed is not None:
            return Quote(model, _agreed_price(model.name, agreed), agreed=True)
        return Quote(model, model.at(now_ns))

    def worst_case_p(
        self, quote: Quote, facts: RequestFacts, output_tokens_max: int
    ) -> int | None:
        """Return the most a call can cost; None where nothing bounds its input."""
        if quote.price is None or quote.model is None or quote.price.kind == "free":
            return 0
        input_tokens = _input_tokens_max(quote, facts)
        if input_tokens is None and quote.price.kind == "token":
            return None
        return quote.price.worst_case_p(
            input_tokens=input_tokens or 0,
            output_tokens=output_tokens_max * facts.outputs,
            compute_ms=quote.model.compute_ms_max or 0,
            audio_ms=_audio_ms_max(quote, facts),
            images=facts.images,
        )

    @staticmethod
    def demands(
        caller: Resolved, period: Period, quote: Quote, hold_p: int
    ) -> list[Demand]:
        """Return the demands on the budgets that the caller's calls draw on."""
        account = caller.account
        demands: list[Demand] = []
        if caller.funding == "credit":
            key = _credit_key(account.id, account.credit_epoch)
            model = "" if quote.model is None else quote.model.name
            quota = BudgetQuota(caller.credit.ceiling_of_p(model), ledgered=True)
            demands.append(Demand(key, quota, hold_p, None, "credit", "pico_usd"))
        if caller.usage_limit_p is not None:
            demands.append(
                usage_limit_demand(account.id, period.key, caller.usage_limit_p, hold_p)
            )
        if caller.key_limit_p is not None:
            key = _key_key(account.id, caller.key_id, period.key)
            quota = BudgetQuota(caller.key_limit_p, ledgered=True)
            demands.append(Demand(key, quota, hold_p, None, "key", "pico_usd"))
        return demands

    def spent_p(self, key: str, now_ns: int) -> int:
        """Return what a budget has spent, for its seed. Blocks: call it in a thread.

        The journal's lock is held meanwhile, so that a charge on its way from the
        journal to the ledger is counted once.
        """
        if self._journal is None:
            return self._posted_p(key, now_ns)
        with self._journal.posting:
            posted_p = self._posted_p(key, now_ns)
            return posted_p + self._unposted_p(key, self._journal)

    def _posted_p(self, key: str, now_ns: int) -> int:
        account_id, kind, period = _budget_of(key)
        if kind == "credit":
            return self._ledger.credit(account_id, now_ns=now_ns).used_p
        if kind.startswith(_OF_KEY):
            return self._ledger.key_spent_p(kind.removeprefix(_OF_KEY), period)
        state = self._ledger.period(account_id, period)
        return state.spent_p - state.early_paid_p

    @staticmethod
    def _unposted_p(key: str, journal: Journal) -> int:
        account_id, kind, period = _budget_of(key)
        if kind == "credit":
            return journal.owed.of_account(account_id)
        if kind.startswith(_OF_KEY):
            return journal.owed.of_key(kind.removeprefix(_OF_KEY), period)
        return journal.owed.of_account(account_id, period)


def usage_limit_demand(
    account_id: str, period: str, limit_p: int, cost_p: int
) -> Demand:
    """Return the demand on an account's limit of one period."""
    quota = BudgetQuota(limit_p, ledgered=True)
    key = _spend_key(account_id, period)
    return Demand(key, quota, cost_p, None, "spend", "pico_usd")


def freed_demand(account: Account, freed: BudgetFreed) -> Demand:
    """Return the demand on a budget of which corrections freed something."""
    if freed.kind == "spend":
        return usage_limit_demand(account.id, freed.period, 0, 0)
    key = _credit_key(account.id, account.credit_epoch)
    if freed.kind == "key":
        key = _key_key(account.id, freed.key_id, freed.period)
    return Demand(key, BudgetQuota(0, ledgered=True), 0, None, freed.kind, "pico_usd")


def demands_of_event(event: UsageEvent, credit_epoch: int | None) -> list[Demand]:
    """Return demands on each budget that a call may have drawn on, to settle it late.

    A store that knows no such budget keeps nothing of it.

    Args:
        event: How the call ended.
        credit_epoch: The account's, where credit alone pays; None: it does not.
    """
    keys = [_spend_key(event.account_id, event.period)]
    if credit_epoch is not None:
        keys.append(_credit_key(event.account_id, credit_epoch))
    if event.key_id:
        keys.append(_key_key(event.account_id, event.key_id, event.period))
    quota = BudgetQuota(0, ledgered=True)
    return [Demand(key, quota, event.hold_p, unit="pico_usd") for key in keys]


def _spend_key(account_id: str, period: str) -> str:
    return f"{{{account_id}}}:spend:{period}"


def _credit_key(account_id: str, epoch: int) -> str:
    return f"{{{account_id}}}:credit:{epoch}"


def _key_key(account_id: str, key_id: str, period: str) -> str:
    return f"{{{account_id}}}:{_OF_KEY}{key_id}:{period}"


@lru_cache(maxsize=1024)
def _agreed_price(model: str, agreed: TokenPrices) -> PriceVersion:
    rates: dict[Leaf, Rate] = {
        "input_tokens": Rate(agreed.input_p, agreed.per),
        "output_tokens": Rate(agreed.output_p, agreed.per),
    }
    return PriceVersion(model=model, kind="token", rates=rates)


def _budget_of(key: str) -> tuple[str, str, str]:
    """Return the account, the kind and the period or epoch in a budget's key."""
    account, kind, rest = key.rsplit(":", 2)
    return account[1:-1], kind, rest


def _input_tokens_max(quote: Quote, facts: RequestFacts) -> int | None:
    """Return the most tokens of input that a call can have; None if nothing bounds."""
    if not facts.input_unbounded:
        return facts.input_tokens_max
    context = None if quote.model is None else quote.model.context_tokens_max
    return None if context is None else max(facts.input_tokens_max, context)


def _audio_ms_max(quote: Quote, facts: RequestFacts) -> int:
    """Return the longest audio that a call can have the model listen to."""
    if facts.audio is None or quote.model is None:
        return 0
    return max(quote.model.audio_ms_max or 0, facts.audio.exact_ms or 0)


def affordable_output_tokens(
    quote: Quote | None, facts: RequestFacts | None, room_p: int
) -> int:
    """Return how many tokens each output may have for its worst case to fit a room."""
    if quote is None or facts is None or quote.price is None:
        return 0
    tokens = quote.price.output_tokens_within(
        room_p,
        input_tokens=_input_tokens_max(quote, facts) or 0,
        audio_ms=_audio_ms_max(quote, facts),
    )
    return tokens // max(facts.outputs, 1)
