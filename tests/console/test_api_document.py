"""The OpenAPI document is what is served: requests made up from it are answered so."""

import threading
from dataclasses import replace

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import assume, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from starlette.applications import Starlette

from metering import Metering
from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.console.api.endpoints import ENDPOINTS
from metering.testing.clock import ManualClock

TOKEN = "an-operator-signs-in-by-this-token-alone"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Address of a console in this process, on a real port."""
    plan = replace(
        plan_from_preset("friendli"), data=str(tmp_path_factory.mktemp("data"))
    )
    ledger = SqlLedger("sqlite://", tiers=plan.tiers)
    meter = Metering(plan, clock=ManualClock(), ledger=ledger)
    app = Starlette()
    app.mount("/console", meter.console(operator_token=TOKEN))
    config = uvicorn.Config(meter.wrap(app), port=0, log_level="error", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/console"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def document(served):
    """The document, as a fuzzer reads it."""
    return schemathesis.openapi.from_url(f"{served}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_requests_made_up_from_the_document_are_answered_as_it_says(
    document, endpoint, mode
):
    """Good ones and bad ones: never a 500, and never an answer of another form."""
    operation = document[endpoint.path][endpoint.method]

    @settings(max_examples=10)
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        # What is an empty list is not sent, and without it a bad request may be good.
        assume(all(value not in ([], {}) for value in (case.query or {}).values()))
        # That a period exists, or an amount is above $0, no schema says: good ones
        # may be refused as well, but only as a problem that the document has.
        case.call_and_validate(
            headers={"Authorization": f"Bearer {TOKEN}"},
            excluded_checks=[CHECKS.get_one("positive_data_acceptance")],
        )

    check()


def test_the_document_is_of_each_endpoint_and_where_it_is_mounted(served):
    told = httpx.get(f"{served}/openapi.json").json()

    assert "3.1.0" == told["openapi"]
    assert [{"url": "/console"}] == told["servers"]
    assert {(each.method, each.path) for each in ENDPOINTS} == {
        (method.upper(), path) for path, of in told["paths"].items() for method in of
    }
