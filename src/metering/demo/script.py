"""What happens in the demo: three customers, four refusals, a lowered cap, a rise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openai import APIStatusError, OpenAI

from metering.accounts import Tier
from metering.demo.serve import Service

__all__ = ["BY_TOKENS", "Customer", "Refused", "Script"]

BY_TOKENS = "zai-org/GLM-4.7"
BY_TIME = "zai-org/GLM-4.6"
FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"

_QUESTION = "How many bees live in one hive?"
_TOO_MANY_CALLS = 500
"""More than any limit that the script runs into."""

Tell = Callable[[str], None]


@dataclass
class Customer:
    """One of the three accounts.

    Attributes:
        name: Its account id.
        key: Its API key.
        client: OpenAI's own client, with that key.
        before: The tier in which it began.
        served: How many calls of it were served.
    """

    name: str
    key: str
    client: OpenAI
    before: Tier
    served: int = 0


@dataclass(frozen=True)
class Refused:
    """A call that was not served, as the client saw it."""

    who: str
    status: int
    code: str
    message: str


class Script:
    """Plays the demo on a running service, and keeps what its end shows.

    Args:
        service: The server.
        tell: Is told in a sentence what has just happened.

    Attributes:
        customers: By name, lowest tier first.
        refusals: In their order.
    """

    def __init__(self, service: Service, tell: Tell) -> None:
        self._service = service
        self._tell = tell
        self.customers: dict[str, Customer] = {}
        self.refusals: list[Refused] = []

    def play(self) -> None:
        """Play all scenes in their order."""
        self._sign_up()
        self._ask_plainly()
        self._show_a_wrong_key()
        self._ask_for_too_much()
        self._call_too_often()
        self._use_up_the_credit()
        self._rise_a_tier()

    def _sign_up(self) -> None:
        self._add_customer("newcomer")
        self._add_customer("startup", payment_method=True)
        self._add_customer("company", payment_method=True, paid_usd="500")
        self._tell(
            "Three accounts sign up. 'newcomer' gets $5 of credit (Tier 0), 'startup'"
            " adds a payment method (Tier 1), 'company' buys $500 of credit (Tier 3)."
        )

    def _add_customer(
        self, name: str, *, payment_method: bool = False, paid_usd: str = ""
    ) -> None:
        key = self._service.create(name)
        if payment_method:
            self._service.add_payment_method(name)
        if paid_usd:
            self._service.sell_credit(name, usd=paid_usd)
        client, tier = self._client(key), self._service.tier(name)
        self.customers[name] = Customer(name, key, client, tier)

    def _client(self, key: str) -> OpenAI:
        # No retries: the demo is here to show refusals, not to get over them.
        return OpenAI(api_key=key, base_url=f"{self._service.url}/v1", max_retries=0)

    def _ask_plainly(self) -> None:
        for customer in self.customers.values():
            self._ask_stream(customer, BY_TOKENS)
            self._ask(customer, FREE)
        costs = [
            self._ask(customer, BY_TOKENS)["x-usage-cost-usd"]
            for customer in self.customers.values()
        ]
        self._tell(
            f"Each asks {BY_TOKENS} (billed by token), at once and as a stream, and"
            f" the free {FREE}. The answer itself tells its cost: x-usage-cost-usd:"
            f" {costs[0]}."
        )
        for name in ("startup", "company"):
            headers = self._ask(self.customers[name], BY_TIME)
        self._tell(
            f"'startup' and 'company' ask {BY_TIME}, billed by the millisecond of"
            f" compute: ${headers['x-usage-cost-usd']} each."
        )

    def _show_a_wrong_key(self) -> None:
        stranger = self._client("mk-nobody-has-this-key")
        refused = self._refusal("a stranger", stranger, BY_TOKENS)
        self._tell(f"A stranger shows a wrong key: {refused.status} {refused.code}.")

    def _ask_for_too_much(self) -> None:
        startup = self.customers["startup"]
        headers = self._ask(startup, BY_TOKENS, output_tokens_max=100_000)
        cap = int(headers["x-output-tokens-limit"])
        self._tell(
            "'startup' asks for up to 100,000 output tokens. It is served, and the cap"
            f" of its tier is put in place: x-output-tokens-limit: {cap} (16K)."
        )

    def _call_too_often(self) -> None:
        startup = self.customers["startup"]
        served, refused = self._ask_until_refused(startup, FREE)
        self._tell(
            "'startup' calls the free model as fast as it can, where Tier 1 has 60"
            f" requests a minute, one of them each second: {served} more are served,"
            f" then {refused.status} {refused.code}."
        )

    def _use_up_the_credit(self) -> None:
        newcomer = self.customers["newcomer"]
        served, refused = self._ask_until_refused(newcomer, BY_TIME)
        self._tell(
            f"'newcomer' has $5 and calls {BY_TIME}: {served} calls are served, and"
            " before the next one could cost more than what is left:"
            f" {refused.status} {refused.code}."
        )

    def _rise_a_tier(self) -> None:
        startup = self.customers["startup"]
        before = self._ask(startup, BY_TOKENS)["x-ratelimit-limit-requests"]
        self._service.sell_credit("startup", usd="50")
        after = self._ask(startup, BY_TOKENS)["x-ratelimit-limit-requests"]
        tier = self._service.tier("startup").name
        self._tell(
            f"'startup' buys $50 of credit, and is in {tier} with its very next call:"
            f" x-ratelimit-limit-requests: {before} before, {after} after."
        )

    def _ask(
        self, customer: Customer, model: str, *, output_tokens_max: int | None = None
    ) -> Mapping[str, str]:
        """Ask at once, and return the headers of the answer."""
        headers = _ask(customer.client, model, output_tokens_max)
        customer.served += 1
        return headers

    def _ask_stream(self, customer: Customer, model: str) -> None:
        with customer.client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": _QUESTION}],
            stream=True,
        ) as chunks:
            for _chunk in chunks:
                pass
        customer.served += 1

    def _ask_until_refused(self, customer: Customer, model: str) -> tuple[int, Refused]:
        before = customer.served
        try:
            for _ in range(_TOO_MANY_CALLS):
                self._ask(customer, model)
        except APIStatusError as error:
            refused = self._keep(customer.name, error)
            return customer.served - before, refused
        raise AssertionError(f"{_TOO_MANY_CALLS} calls in a row, and none was refused.")

    def _refusal(self, who: str, client: OpenAI, model: str) -> Refused:
        try:
            _ask(client, model, None)
        except APIStatusError as error:
            return self._keep(who, error)
        raise AssertionError(f"The call of {who} was to be refused, and was served.")

    def _keep(self, who: str, error: APIStatusError) -> Refused:
        body = error.body if isinstance(error.body, dict) else {}
        refused = Refused(
            who, error.status_code, str(error.code), str(body.get("message", error))
        )
        self.refusals.append(refused)
        return refused


def _ask(
    client: OpenAI, model: str, output_tokens_max: int | None
) -> Mapping[str, str]:
    """Ask at once, and return the headers of the answer."""
    bound = {} if output_tokens_max is None else {"max_tokens": output_tokens_max}
    answer = client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": _QUESTION}],
        extra_body=bound,
    )
    return answer.headers
