"""A cap on the output of each request, in whichever field a client wrote its bound.

uvicorn cap:app
"""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from metering import ClampMiddleware, Parts
from metering.testing import FakeModel

app = Starlette(
    routes=[Mount("/", FakeModel(output_tokens=64))],  # your own app would stand here
    middleware=[Middleware(ClampMiddleware, Parts(), output_tokens_max=16)],
)
