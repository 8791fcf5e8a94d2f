"""The table of endpoints: what serves each, and what the document says of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

import msgspec

from metering.console.api import (
    books,
    history,
    keys,
    limits,
    lists,
    operating,
    plan,
    reading,
)
from metering.console.api.asked import Nothing
from metering.console.services import Services, Viewer

__all__ = ["ENDPOINTS", "Endpoint", "Method"]

Method = Literal["GET", "POST", "PUT", "DELETE"]

_Owned = Callable[[Services, Viewer, Any], Awaitable[msgspec.Struct]]
_Operated = Callable[[Services, Any], Awaitable[msgspec.Struct]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path.

    Attributes:
        method: The method; those of POST and PUT have a body.
        path: The path, beneath where the app is mounted.
        name: Names it in the document.
        summary: What it does, in a line.
        operator: Whether it is an operator's alone.
        query: The members of its query.
        body: The members of its body; None: it has none.
        answer: What it answers.
        run: Does it, given the services, who looks, and the query or the body.
    """

    method: Method
    path: str
    name: str
    summary: str
    operator: bool
    query: type[msgspec.Struct]
    body: type[msgspec.Struct] | None
    answer: type[msgspec.Struct]
    run: _Owned


def _owned(path: str, run: _Owned) -> Endpoint:
    """Return an endpoint that shows an account its own rows."""
    return _endpoint("GET", path, run, run, operator=False)


def _changed(method: Method, path: str, run: _Owned) -> Endpoint:
    """Return an endpoint by which an account changes what is its own."""
    return _endpoint(method, path, run, run, operator=False)


def _operated(method: Method, path: str, run: _Operated) -> Endpoint:
    """Return an endpoint for operators alone."""

    async def run_for(
        services: Services,
        viewer: Viewer,  # noqa: ARG001 - it is an operator, whoever it is
        asked: msgspec.Struct,
    ) -> msgspec.Struct:
        return await run(services, asked)

    return _endpoint(method, path, run, run_for, operator=True)


def _endpoint(
    method: Method,
    path: str,
    told: Callable[..., Awaitable[msgspec.Struct]],
    run: _Owned,
    *,
    operator: bool,
) -> Endpoint:
    types = get_type_hints(told)
    answer, asked = types.pop("return"), list(types.values())[-1]
    in_body = method in {"POST", "PUT"}
    return Endpoint(
        method=method,
        path=path,
        name=f"{method.lower()}{path.replace('/', '_').replace('-', '_')}",
        summary=str(told.__doc__).partition("\n")[0],
        operator=operator,
        query=Nothing if in_body else asked,
        body=asked if in_body else None,
        answer=answer,
        run=run,
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    _owned("/v1/account", reading.account),
    _owned("/v1/usage", reading.usage),
    _owned("/v1/usage/days", reading.usage_days),
    _owned("/v1/limits", limits.limits),
    _owned("/v1/tiers", plan.tiers),
    _owned("/v1/prices", plan.prices),
    _owned("/v1/charges", reading.charges),
    _owned("/v1/refusals", history.refusals),
    _owned("/v1/alerts", lists.alerts),
    _owned("/v1/invoices", reading.invoices),
    _owned("/v1/invoice", reading.invoice),
    _owned("/v1/payments", lists.payments),
    _owned("/v1/credits", lists.credits_of),
    _owned("/v1/keys", lists.keys),
    _changed("POST", "/v1/keys", keys.issue_key),
    _changed("DELETE", "/v1/keys", keys.revoke_key),
    _operated("GET", "/v1/accounts", operating.accounts),
    _operated("GET", "/v1/platform", operating.platform),
    _operated("GET", "/v1/platform/history", history.platform_history),
    _operated("GET", "/v1/refusals/reasons", history.refusal_reasons),
    _operated("POST", "/v1/accounts", operating.create_account),
    _operated("POST", "/v1/payments", operating.record_payment),
    _operated("POST", "/v1/credits", operating.grant_credit),
    _operated("PUT", "/v1/tier", operating.pin_tier),
    _operated("PUT", "/v1/payment-method", operating.set_payment_method),
    _operated("PUT", "/v1/suspension", operating.suspend),
    _operated("PUT", "/v1/agreement", operating.agree),
    _operated("POST", "/v1/invoices", books.close_period),
    _operated("POST", "/v1/invoices/due", books.close_due),
    _operated("POST", "/v1/reversals", books.reverse),
    _operated("GET", "/v1/rerate", books.preview_rerate),
    _operated("POST", "/v1/rerate", books.rerate),
)
"""Everything that the API does. Paths are fixed: ids may hold a slash, so they are in
the query, and none of these paths ends like one that serves a model."""
