"""What is logged: refusals always, calls on request, content and secrets never."""

import pytest
import structlog
from structlog.testing import capture_logs

pytestmark = pytest.mark.anyio

WORDS = "verysecretprompt"


async def test_a_refusal_is_one_event_with_ids(open_service):
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        with capture_logs() as logs:
            await service.chat(key, model="no-such-model")

    (line,) = logs
    assert "call_refused" == line["event"]
    assert ("acme", "no-such-model") == (line["account"], line["model"])
    assert "model_not_priced" == line["code"]


async def test_an_admitted_call_is_not_logged_unless_asked(open_service):
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        with capture_logs() as logs:
            await service.chat(key)

    assert [] == logs


async def test_a_call_can_be_logged_without_its_content(open_service):
    """Account, tier, model, ending, tokens, charge, time, id; no words, no key."""
    async with open_service(log_calls=True) as service:
        key = await service.account("acme", tier=1)
        messages = [{"role": "user", "content": WORDS}]
        with capture_logs() as logs:
            answer = await service.chat(key, messages=messages)
            await service.chat(key, messages=messages, stream=True)
            await service.chat(key, messages=messages, max_tokens="no")

    first = logs[0]
    assert answer.headers["x-usage-id"] == first["call"]
    assert ("acme", 1, "completed", 200) == (
        first["account"],
        first["tier"],
        first["ending"],
        first["status"],
    )
    assert (1, 64, "0.0000065") == (
        first["input_tokens"],
        first["output_tokens"],
        first["charge_usd"],
    )
    assert ["completed", "completed", "upstream_error"] == [x["ending"] for x in logs]
    assert WORDS not in repr(logs)
    assert key not in repr(logs)


async def test_nothing_that_is_kept_holds_content(open_service, tmp_path):
    """Neither the journal nor the ledger has a word of prompt, answer or key."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        await service.chat(key, messages=[{"role": "user", "content": WORDS}])
        lines = b"".join(p.read_bytes() for p in tmp_path.rglob("*.log"))
        kept = repr(vars(service.ledger))
        await service.events("acme")
        kept += repr(vars(service.ledger))

    assert b'"account_id":"acme"' in lines
    for secret in (WORDS, "w1 w2", key):
        assert secret.encode() not in lines
        assert secret not in kept


async def test_a_log_that_cannot_be_written_stops_no_call(open_service):
    """Standard output may be closed, or on a full disk."""

    def broken(*_args):
        raise OSError(28, "No space left on device")

    structlog.configure(processors=[broken])
    async with open_service(log_calls=True) as service:
        key = await service.account("acme", tier=1)
        served = await service.chat(key)
        refused = await service.chat("mk-nobody")
        events = await service.events("acme")

    assert (200, 401, 1) == (served.status_code, refused.status_code, len(events))
