"""A limit on requests, for all callers together: no accounts, no plan, no data home.

uvicorn limiter:app
"""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from metering import Limiter, LimiterMiddleware, MemoryLimitStore, Parts, RateQuota
from metering.clock import NS_PER_S, system_clock
from metering.testing import FakeModel

limiter = Limiter(MemoryLimitStore(), clock=system_clock)

app = Starlette(
    routes=[Mount("/", FakeModel(output_tokens=64))],  # your own app would stand here
    middleware=[
        Middleware(
            LimiterMiddleware,
            Parts(limiter=limiter),
            requests=RateQuota(amount=2, per_ns=60 * NS_PER_S),
        )
    ],
)
