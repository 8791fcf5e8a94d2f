"""One request is one Call: what the pieces plan, and what became of it."""

from typing import TYPE_CHECKING

from starlette.types import Scope

from metering.accounts import ModelClass
from metering.billing import Quote
from metering.clamp import ClampPlan
from metering.dialects.dialect import Dialect, Members
from metering.facts import RequestFacts
from metering.ledger import Period
from metering.observing import Headers
from metering.quota import Demand, Verdict
from metering.resolved import Resolved
from metering.usage import UsageEvent

if TYPE_CHECKING:
    from metering.asgi.gates import Gate
    from metering.asgi.reported import Reported

__all__ = ["Call", "call_of", "route_path"]

STATE_KEY = "metering"


class Call:
    """One metered request. Pieces find it in `scope["state"]["metering"]`.

    On the way in each piece adds what it knows; the Exchange carries it out.

    `gates` are passed when all demands are granted; `entered` are those that were.
    `request_headers` came with the request, `headers` are added to the response.
    `returnable` says that all that is taken may have to be given back, also where
    nothing else is to be settled. `decoded` says that the body came compressed, and is
    no longer.
    """

    __slots__ = (
        "body",
        "caller",
        "changes",
        "clamp",
        "decoded",
        "demands",
        "dialect",
        "entered",
        "event",
        "facts",
        "gates",
        "header_time",
        "headers",
        "hold_p",
        "id",
        "input_tokens_estimate",
        "members",
        "metered",
        "now_ns",
        "period",
        "quote",
        "reported",
        "request_headers",
        "returnable",
        "running",
        "shadow_refused",
        "started_over",
        "take_out_usage",
        "verdicts",
    )

    def __init__(self, call_id: str, dialect: Dialect, now_ns: int) -> None:
        self.id = call_id
        self.dialect = dialect
        self.now_ns = now_ns
        self.caller: Resolved | None = None
        self.body: bytes | None = None
        self.decoded = False
        self.members: Members | None = None
        self.facts: RequestFacts | None = None
        self.input_tokens_estimate: int | None = None
        self.clamp: ClampPlan | None = None
        self.quote: Quote | None = None
        self.period: Period | None = None
        self.hold_p = 0
        self.demands: list[Demand] = []
        self.changes: dict[str, bytes] = {}
        self.gates: list[Gate] = []
        self.entered: list[Gate] = []
        self.reported: Reported | None = None
        self.header_time: tuple[int, str] | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.request_headers: Headers = ()
        self.take_out_usage = False
        self.metered = False
        self.started_over = False
        self.running = False
        self.returnable = False
        self.verdicts: tuple[Verdict, ...] = ()
        self.shadow_refused: tuple[str, ...] = ()
        self.event: UsageEvent | None = None

    def start_over(self) -> None:
        """Forget all plans, as the account they were made for has changed."""
        self.started_over = True
        self.caller = self.clamp = self.quote = self.period = None
        self.hold_p = 0
        self.demands = []
        self.gates = []
        self.changes = {}
        self.take_out_usage = False

    def estimate_input_tokens(self) -> int:
        """Return about how many tokens the model reads; it is found out once."""
        if self.input_tokens_estimate is None:
            facts, members = self.facts, self.members
            tokens = 0
            if facts is not None and members is not None:
                tokens = self.dialect.estimate_input(members)
                if not facts.input_unbounded:
                    tokens = min(tokens, facts.input_tokens_max)
            self.input_tokens_estimate = tokens
        return self.input_tokens_estimate

    @property
    def model(self) -> str:
        """Name of the model, not its alias; "" where none is named."""
        if self.quote is not None and self.quote.model is not None:
            return self.quote.model.name
        return "" if self.facts is None else self.facts.model

    @property
    def model_class(self) -> ModelClass:
        """Which of the caller's request limits the call is under."""
        return "paid" if self.quote is None else self.quote.model_class

    @property
    def account(self) -> tuple[str, int] | None:
        """Id and version of the account as it was resolved."""
        if self.caller is None:
            return None
        return self.caller.account.id, self.caller.account.version


def call_of(scope: Scope) -> Call | None:
    """Return the Call of a request, or None if it has none (yet)."""
    state = scope.get("state")
    return None if state is None else state.get(STATE_KEY)


def route_path(scope: Scope) -> str:
    """Return the path within the app: without the mount's prefix or a last slash."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root):
        path = path[len(root) :]
    if path.endswith("/"):
        path = path.rstrip("/")
    return path
