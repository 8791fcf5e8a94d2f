"""Each example runs as its page says, called by OpenAI's own client."""

import os
import sys
from decimal import Decimal
from pathlib import Path

import httpx
import openai
import pytest

pytestmark = [pytest.mark.slow_start, pytest.mark.timeout(120)]

CHARGE = "x-usage-cost-usd"


def test_a_fastapi_service(example):
    """An operator signs acme up, acme calls and looks, pays, and is a customer."""
    here = example("fastapi_service")
    here.env["ADMIN_TOKEN"] = "of-the-operator"
    operator = {"x-admin-token": "of-the-operator"}
    with here.uvicorn("service:app") as url, httpx.Client(base_url=url) as http:
        refused = http.post("/admin/accounts/acme", headers={"x-admin-token": "no"})
        key = http.post("/admin/accounts/acme", headers=operator).json()["key"]
        answer = here.ask(url, key, "example/chat", max_tokens=1000)
        paid = http.post(
            "/admin/accounts/acme/payments/order-1",
            params={"usd": 10},
            headers=operator,
        )
        me = http.get("/me", headers={"authorization": f"Bearer {key}"}).json()
        stranger = http.get("/me")
    (used,) = here.metering("usage", "acme", "--config=plan.toml")[0]["models"]

    assert (403, 401) == (refused.status_code, stranger.status_code)
    assert ("256", "0.0000975") == (
        answer.headers["x-output-tokens-limit"],
        answer.headers[CHARGE],
    )
    assert {"tier": "Customer"} == paid.json()
    assert ("acme", "Customer") == (me["account"], me["tier"])
    assert Decimal("0.0000975") == Decimal(used["charge_usd"])


def test_a_limiter_alone(example):
    """Two calls within the minute, and the third is told when to come back."""
    here = example("pieces")
    with here.uvicorn("limiter:app") as url:
        left = [
            here.ask(url, "any", "m").headers["x-ratelimit-remaining-requests"]
            for _ in range(2)
        ]
        with pytest.raises(openai.RateLimitError) as refused:
            here.ask(url, "any", "m")

    assert ["1", "0"] == left
    assert "rate_limit_exceeded" == refused.value.code
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 30


def test_a_cap_alone(example):
    """A thousand tokens asked for, sixteen written."""
    here = example("pieces")
    with here.uvicorn("cap:app") as url:
        answer = here.ask(url, "any", "m", max_tokens=1000)

    assert "16" == answer.headers["x-output-tokens-limit"]
    assert 16 == answer.parse().usage.completion_tokens


def test_a_meter_alone(example):
    """It prints what a plain answer used, and what a stream did."""
    here = example("pieces")
    with here.uvicorn("meter:app") as url:
        here.ask(url, "any", "m")
        here.ask(url, "any", "m", stream=True)

    assert ["m 3 64\n"] * 2 == [line for line in here.said if line.startswith("m ")]


def test_vllm_s_flag(example):
    """The script starts it; a program named vllm reads the flags as vLLM does."""
    here = example("vllm")
    stub = here.folder / "bin" / "vllm"
    stub.parent.mkdir()
    source = Path(__file__).with_name("vllm_stand_in.py").read_text()
    stub.write_text(f"#!{sys.executable}\n{source}")
    stub.chmod(0o755)
    here.env["PATH"] = f"{stub.parent}:{here.env['PATH']}"
    here.env["METERING_CONFIG"] = "preset:friendli"
    with here.running("./serve.sh", "zai-org/GLM-4.7", "--port=0") as (url,):
        here.metering("accounts", "create", "acme")
        key = here.metering("keys", "issue", "acme")["key"]
        answer = here.ask(url, key, "zai-org/GLM-4.7")
        with pytest.raises(openai.AuthenticationError):
            here.ask(url, "mk-wrong", "zai-org/GLM-4.7")
    (used,) = here.metering("usage", "acme")[0]["models"]

    assert "0.0001426" == answer.headers[CHARGE]  # 3 at $0.60, 64 at $2.20 a million
    assert (1, Decimal("0.0001426")) == (used["calls"], Decimal(used["charge_usd"]))


def test_many_nodes_with_redis_and_postgresql(example, redis_url, postgres, free_port):
    """Of nine calls through three nodes exactly four are paid for, and served."""
    here = example("many_nodes")
    del here.env["METERING_DATA"]
    here.env |= {
        "METERING_CONFIG": "plan.toml",
        "METERING_LIMITS": redis_url,
        "METERING_LEDGER": postgres.empty(),
    }
    account = f"acme-{os.getpid()}-{here.folder.parent.name}"
    here.metering("migrate")
    here.metering("accounts", "create", account)
    key = here.metering("keys", "issue", account)["key"]
    first_port = str(free_port())
    nodes = (sys.executable, "nodes.py", "3", first_port)
    charges, refusals = [], []
    with here.running(*nodes, servers=3) as urls:
        for url in urls * 3:
            try:
                answer = here.ask(url, key, "example/answer")
                charges.append(answer.headers[CHARGE])
            except openai.APIStatusError as refused:
                refusals.append(refused.status_code)
    (used,) = here.metering("usage", account)[0]["models"]

    assert (["0.25"] * 4, [402] * 5) == (charges, refusals)
    assert (4, Decimal(1)) == (used["calls"], Decimal(used["charge_usd"]))
    assert 3 == len(list((here.folder / ".metering").glob("node-*")))


def test_an_app_that_reports_its_own_usage(example):
    """By tokens and by compute time: what it says is what is charged."""
    here = example("own_usage")
    here.env["METERING_CONFIG"] = "plan.toml"
    here.metering("accounts", "create", "acme")
    key = here.metering("keys", "issue", "acme")["key"]
    with here.uvicorn("service:app") as url:
        answers = [here.ask(url, key, model) for model in ("own/words", "own/seconds")]

    assert ["ONE ONE TWO TWO THREE THREE"] * 2 == [
        answer.parse().choices[0].message.content for answer in answers
    ]
    # 3 at $0.50 and 6 at $1.50 a million; 120 ms at $0.004 a second.
    assert ["0.0000105", "0.00048"] == [answer.headers[CHARGE] for answer in answers]
