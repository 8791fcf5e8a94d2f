"""The tier piece: who calls, and what their tier allows."""

from starlette.types import ASGIApp, Receive, Scope, Send

from metering.asgi.admission import StaleAccountError
from metering.asgi.context import Call, call_of
from metering.asgi.headers import find_header
from metering.asgi.parts import Parts
from metering.asgi.piece import Piece
from metering.asgi.refusal import Refusal
from metering.errors import ConfigurationError
from metering.tiers import Resolved

__all__ = ["TierMiddleware"]

_BEARER = b"bearer "
_KEY_LENGTH_MAX = 1024


class TierMiddleware(Piece):
    """Finds the account of each call; refuses callers it does not know.

    Keys are taken from `Authorization: Bearer`, `x-api-key` or `api-key`, before the
    body is read. Needs `parts.resolver`.
    """

    name = "tier"

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        super().__init__(app, parts)
        if parts.resolver is None:
            raise ConfigurationError(
                "TierMiddleware needs a resolver: Parts(resolver=TierResolver(...))."
            )
        self._resolver = parts.resolver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Resolve and hand on; once more if the account changed meanwhile."""
        try:
            await super().__call__(scope, receive, send)
        except StaleAccountError:
            call = call_of(scope)
            if call is None:
                raise
            call.start_over()
            plans = (self._plan_anew, *self.plans[1:])
            await self._attempt(call, scope, receive, send, plans)

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:  # noqa: ARG002 - the body is not needed
        """Find the account, or refuse."""
        if self.parts.ready is not None:
            await self.parts.ready()
        return await self._resolve(call, scope, fresh=False)

    async def _plan_anew(
        self,
        call: Call,
        scope: Scope,
        receive: Receive,  # noqa: ARG002 - the body is not needed
    ) -> Refusal | None:
        return await self._resolve(call, scope, fresh=True)

    async def _resolve(
        self, call: Call, scope: Scope, *, fresh: bool
    ) -> Refusal | None:
        caller = await self._caller(scope, fresh=fresh)
        if isinstance(caller, Refusal):
            return caller
        if caller.account.suspended:
            return Refusal(
                "account_suspended",
                f"Account {caller.account.id!r} is suspended. Ask its operator.",
            )
        call.caller = caller
        return None

    async def _caller(self, scope: Scope, *, fresh: bool) -> Resolved | Refusal:
        if self.parts.identify is not None:
            account_id = await self.parts.identify(scope)
        else:
            secret = _credential(scope)
            if secret:
                known = await self._resolver.by_key(secret, fresh=fresh)
                return _good_key(known)
            account_id = self.parts.anonymous
        if account_id is None:
            return Refusal(
                "invalid_api_key",
                "No API key was sent. Send it as 'Authorization: Bearer KEY'.",
            )
        found = await self._resolver.by_account(account_id, fresh=fresh)
        if found is None:
            return Refusal(
                "invalid_api_key",
                f"There is no account {account_id!r}. Its operator must create it.",
            )
        return found


def _good_key(known: Resolved | None) -> Resolved | Refusal:
    if known is None:
        return Refusal(
            "invalid_api_key", "The API key is not known. Check it, or ask for another."
        )
    if known.revoked:
        return Refusal("invalid_api_key", "The API key was revoked. Ask for another.")
    return known


def _credential(scope: Scope) -> bytes:
    headers = scope.get("headers", ())
    bearer = find_header(headers, b"authorization")
    if bearer[: len(_BEARER)].lower() == _BEARER:
        secret = bearer[len(_BEARER) :].strip()
    else:
        secret = find_header(headers, b"x-api-key") or find_header(headers, b"api-key")
    return secret[:_KEY_LENGTH_MAX]
