"""Metrics of whole services: their sums are the ledger's, their labels are bounded."""

import shutil

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio import to_thread
from prometheus_client.parser import text_string_to_metric_families

from metering.backends.sql import SqlLedger
from metering.coldstart import ColdStart
from metering.config import plan_from_preset
from metering.config.notices import NoticeSettings, StreamSettings
from metering.errors import StorageError
from metering.exports.metrics import METRICS
from metering.exports.prometheus import Prometheus
from metering.ids import uuid7
from metering.observing import Observer, Observers, RefusedCall, ServiceState
from metering.testing import FakeModel
from metering.usage import Usage, UsageEvent

pytestmark = pytest.mark.anyio

GLM = "zai-org/GLM-4.7"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TIMED = "Qwen/Qwen3-32B"
LEAVES = {
    "input": "input_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
}


class Page:
    """What a scrape of an app of metrics returns, as whole numbers."""

    def __init__(self, text):
        self.samples = [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def sum(self, name, **labels):
        values = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert all(value.is_integer() for value in values)
        return sum(map(int, values))

    def of(self, name):
        return {
            tuple(sample.labels.values()): sample.value
            for sample in self.samples
            if sample.name == name
        }


async def scraped(metrics, **headers):
    transport = httpx.ASGITransport(metrics)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        return await client.get("/", headers=headers)


async def page_of(metrics):
    return Page((await scraped(metrics)).text)


def event(**fields):
    """Return the record of a call."""
    return UsageEvent(
        **{
            "id": uuid7(0),
            "account_id": "acme",
            "tier": 1,
            "model": LLAMA,
            "model_asked": "",
            "dialect": "openai.chat",
            "price_version": "v",
            "period": "2026-01",
            "admitted_ns": 0,
            "ended_ns": 10**9,
            "ending": "completed",
            "usage": Usage(input_tokens=5, output_tokens=9),
            "usage_source": "upstream",
            "charge_p": 123_456_789,
        }
        | fields
    )


def counted(*events):
    """Return a page of an exporter that was told of these calls."""
    exporter = Prometheus()
    exporter.begin([LLAMA])
    for each in events:
        exporter.call_ended(each, ())
    content, _ = exporter.page(ServiceState(), "")
    return Page(content.decode())


class SeveralApps:
    """One app that is another with each call."""

    def __init__(self, *apps):
        self.apps = list(apps)

    async def __call__(self, scope, receive, send):
        await self.apps.pop(0)(scope, receive, send)


async def raises(_scope, receive, _send):
    await receive()
    raise RuntimeError("The model is broken.")


async def test_sums_of_metrics_are_those_of_the_ledger(open_service, hand_written):
    """Whole, streamed, cut off, failed, cached, timed, estimated and refused calls."""
    model = FakeModel(cached_tokens=2, reasoning_tokens=11)
    app = SeveralApps(
        FakeModel(),
        FakeModel(),
        model,
        model,
        FakeModel(compute_ms=1234),
        FakeModel(status=500),
        FakeModel(usage=False),
        FakeModel(fail_at=3),
        raises,
        FakeModel(),
    )
    async with open_service(app) as service:
        metrics = service.meter.metrics()
        acme = await service.account("acme", tier=2)
        more = await service.account("more", tier=3)
        await service.chat(acme)
        await service.chat(more, stream=True)
        await service.chat(acme, model=GLM)
        await service.chat(acme, model=GLM, stream=True)
        await service.chat(more, model=TIMED)
        await service.chat(acme)
        await service.chat(more)
        for body in ({"stream": True}, {}):
            with pytest.raises(RuntimeError):
                await service.chat(acme, **body)
        leaving = hand_written(
            acme,
            {
                "model": LLAMA,
                "messages": [{"role": "user", "content": "a"}],
                "stream": True,
            },
            breaks_at=5,
        )
        with pytest.raises(OSError, match="connection is gone"):
            await leaving.call(service.meter.wrap(app))
        await service.chat("no-such-key")
        events = [*await service.events("acme"), *await service.events("more")]
        page = await page_of(metrics)

    assert 10 == len(events) == page.sum("metering_calls_total")
    assert len({event.ending for event in events}) >= 4
    for each in {(event.tier, event.model, event.ending) for event in events}:
        tier, name, ending = each
        assert sum(
            (event.tier, event.model, event.ending) == each for event in events
        ) == page.sum("metering_calls_total", tier=str(tier), model=name, ending=ending)
    for kind, leaf in LEAVES.items():
        used = sum(getattr(event.usage, leaf) for event in events)
        assert used == page.sum("metering_tokens_total", kind=kind), kind
        assert used > 0 or kind == "cache_write"
    seconds = page.of("metering_compute_seconds_total")
    computed_ms = sum(event.usage.compute_ms for event in events)
    assert computed_ms == sum(round(1000 * each) for each in seconds.values()) >= 1234
    for tier in (2, 3):
        charged_p = sum(event.charge_p for event in events if event.tier == tier)
        micros = page.sum("metering_charges_microusd_total", tier=str(tier))
        rest_p = page.sum("metering_charges_rest_picousd_total", tier=str(tier))
        assert charged_p == micros * 10**6 + rest_p > 0
    flags = [flag for event in events for flag in event.flags]
    assert len(flags) == page.sum("metering_flagged_calls_total") > 0
    assert 10 == page.sum("metering_call_duration_seconds_count")
    assert 1 == page.sum("metering_refusals_total", code="invalid_api_key")


async def test_charges_are_exact_beyond_what_a_float_holds():
    """$20,000 in odd amounts are more pico-dollars than a float counts."""
    odd_p = [2 * 10**16 // 7 + n for n in range(7)]
    page = counted(*[event(charge_p=charge_p) for charge_p in odd_p])
    micros = page.sum("metering_charges_microusd_total")
    rest_p = page.sum("metering_charges_rest_picousd_total")

    assert sum(odd_p) > 2**53
    assert sum(odd_p) == micros * 10**6 + rest_p


async def test_refusals_are_told_by_code_and_quota(open_service):
    """Eleven calls of ten a minute, and one for a model that has no price."""
    async with open_service() as service:
        metrics = service.meter.metrics()
        key = await service.account("acme")
        for _ in range(11):
            await service.chat(key)
        await service.chat(key, model="never heard of it")
        page = await page_of(metrics)

    assert {
        ("rate_limit_exceeded", LLAMA, "requests", "0"): 1,
        ("model_not_priced", "other", "", "0"): 1,
    } == page.of("metering_refusals_total")
    assert 10 == page.sum("metering_calls_total")


async def test_labels_are_bounded_and_tell_of_nobody(open_service):
    """Fifty names that clients made up are one series; no account and no key is one."""
    async with open_service(unpriced="record") as service:
        metrics = service.meter.metrics()
        key = await service.account("a-customer", tier=2)
        for number in range(50):
            await service.chat(key, model=f"made-up-{number}")
        text = (await scraped(metrics)).text

    assert 50 == Page(text).sum("metering_calls_total", model="other")
    assert 1 == text.count("\nmetering_calls_total{")
    assert not any(word in text for word in ("made-up", "a-customer", key, "a b c"))


async def test_a_name_that_looks_like_a_sample_is_none(open_service):
    """Quotes, line ends, braces and length do not get out of a client's own label."""
    hostile = (
        '"} 1\nmetering_calls_total{tier="9',
        "metering_evil 1\n# EOF\n",
        '\\"}\u2028\u0000',
        "x" * 5_000,
        "other",
    )
    async with open_service(unpriced="pass") as service:
        metrics = service.meter.metrics()
        key = await service.account("acme", tier=2)
        for name in hostile:
            await service.chat(key, model=name)
            await service.chat("sk-" + name.encode().hex(), model=name)
        text = (await scraped(metrics)).text
    page = Page(text)

    assert {"other"} == {
        sample.labels["model"] for sample in page.samples if "model" in sample.labels
    }
    assert {"2", "unknown"} >= {
        sample.labels["tier"] for sample in page.samples if "tier" in sample.labels
    }
    assert len(hostile) == page.sum("metering_calls_total", model="other", tier="2")
    assert "evil" not in text
    assert "xxx" not in text


async def test_the_state_of_a_process_is_told(open_service):
    """A call runs and holds; then it is journalled, and the ledger has it."""
    in_app, go_on = anyio.Event(), anyio.Event()

    async def waits(scope, receive, send):
        in_app.set()
        await go_on.wait()
        await FakeModel()(scope, receive, send)

    async with open_service(waits) as service, anyio.create_task_group() as tasks:
        metrics = service.meter.metrics()
        key = await service.account("acme", tier=1)
        tasks.start_soon(service.chat, key)
        await in_app.wait()
        during = await page_of(metrics)
        go_on.set()
        while (after := await page_of(metrics)).sum("metering_holds_open"):
            await anyio.lowlevel.checkpoint()
        await service.flush()
        posted = await page_of(metrics)

    assert 1 == during.sum("metering_holds_open")
    assert 0 == during.sum("metering_calls_total")
    assert 1 == after.sum("metering_calls_total")
    assert 0 == posted.sum("metering_journal_unposted")
    assert 0 == posted.sum("metering_posting_fails")


class Away(SqlLedger):
    """A ledger that takes no charges while it is told so."""

    away = False

    def post(self, events):
        if self.away:
            raise StorageError("The ledger is away.")
        return super().post(events)


async def test_a_ledger_that_takes_no_charges_is_told(open_service):
    """What waits for it is counted, and how long it has waited by now."""
    ledger = Away("sqlite://", tiers=open_service.plan().tiers)
    async with open_service(ledger=ledger) as service:
        metrics = service.meter.metrics()
        key = await service.account("acme", tier=1)
        await service.chat(key)
        await service.flush()
        ledger.away = True
        await service.chat(key)
        assert not await to_thread.run_sync(service.meter._recorder.flush, 0.5)
        service.clock.advance(seconds=42)
        down = await page_of(metrics)
        ledger.away = False
        await to_thread.run_sync(service.meter._recorder.flush, 10.0)
        up = await page_of(metrics)

    names = "unposted", "lag_seconds"
    assert [1, 42] == [down.sum(f"metering_journal_{name}") for name in names]
    assert [0, 0] == [up.sum(f"metering_journal_{name}") for name in names]
    assert (1, 0) == (
        down.sum("metering_posting_fails"),
        up.sum("metering_posting_fails"),
    )


async def test_a_shared_store_of_limits_is_timed(open_service, tmp_path):
    """Each admission once, also the one that waited for its budget to be seeded."""
    store = f"sqlite:///{tmp_path}/limits.db"
    async with open_service(limits_store=store) as service:
        metrics = service.meter.metrics()
        key = await service.account("acme", tier=1)
        for _ in range(3):
            await service.chat(key)
        page = await page_of(metrics)

    assert 4 == page.sum("metering_limits_duration_seconds_count", outcome="answered")
    assert 0 == page.sum("metering_limits_away")


async def test_a_store_of_limits_that_is_away_is_told(open_service):
    """Nobody listens there: the call is refused, and both are on the page."""
    async with open_service(limits_store="redis://127.0.0.1:1") as service:
        metrics = service.meter.metrics()
        answer = await service.chat(await service.account("acme", tier=1))
        page = await page_of(metrics)

    assert 503 == answer.status_code
    assert 1 == page.sum("metering_refusals_total", code="storage_unavailable")
    assert 1 == page.sum("metering_limits_away", store="limits")
    assert 1 <= page.sum("metering_limits_duration_seconds_count", outcome="failed")


async def test_pools_and_cold_models_are_told(open_service):
    """The published limit and one state of each pool; a model that was warmed up."""

    async def load(_model):
        pass

    adaptive = plan_from_preset("friendli").adaptive
    async with open_service(adaptive=adaptive, cold=ColdStart(load)) as service:
        metrics = service.meter.metrics()
        await service.chat(await service.account("acme", tier=1))
        page = await page_of(metrics)
        explained = service.meter.platform.explain()

    assert {(pool,): one.limit_rpm for pool, one in explained.items()} == page.of(
        "metering_adaptive_limit_rpm"
    )
    assert len(explained) == page.sum("metering_adaptive_state")
    assert len(explained) == page.sum("metering_adaptive_state", state="normal")
    assert {("warm",): 1, ("warming",): 0, ("cold",): 0} == page.of("metering_models")


async def test_messages_that_wait_are_told_by_destination(open_service):
    """A stream that nobody serves keeps what it is to be told."""
    notices = NoticeSettings(stream=StreamSettings(nats="nats://127.0.0.1:1"))
    plan = open_service.plan()
    ledger = SqlLedger("sqlite://", tiers=plan.tiers, notices=notices.notices)
    async with open_service(ledger=ledger, notices=notices) as service:
        metrics = service.meter.metrics()
        key = await service.account("acme", tier=1)
        for _ in range(3):
            await service.chat(key)
        await service.flush()
        page = await page_of(metrics)

    assert {("nats:metering.usage",): 3} == page.of("metering_outbox_messages")


async def test_every_metric_is_on_the_page_and_no_other(open_service):
    """Those without a value yet have their help."""
    async with open_service() as service:
        text = (await scraped(service.meter.metrics())).text

    shown = {
        (family.name, family.type, family.documentation)
        for family in text_string_to_metric_families(text)
    }
    assert {(row.name, row.kind, row.tells) for row in METRICS} == shown


async def test_the_page_is_shown_in_the_format_that_is_asked_for(open_service):
    async with open_service() as service:
        metrics = service.meter.metrics()
        plain = await scraped(metrics)
        accepted = "application/openmetrics-text; version=1.0.0"
        open_metrics = await scraped(metrics, accept=accepted)

    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert open_metrics.headers["content-type"].startswith(accepted)
    assert open_metrics.text.endswith("# EOF\n")
    assert service.meter.metrics() is metrics


async def test_without_an_exporter_nobody_is_told(open_service):
    """The one question that a call asks is answered no."""
    async with open_service() as service:
        assert not service.meter._observers.told
        service.meter.metrics()
        assert service.meter._observers.told


async def test_an_observer_that_fails_stops_no_call_and_no_other_observer():
    """It is logged; the calls are answered and counted."""

    class Broken(Observer):
        def call_ended(self, event, _headers):
            raise ValueError(event.id)

        call_refused = call_ended

        def limits_asked(self, took_ns, *, answered):
            raise ValueError(took_ns, answered)

    exporter = Prometheus()
    observers = Observers([Broken(), exporter], [LLAMA])
    observers.call_ended(event(), ())
    observers.limits_asked(1, answered=True)
    refused = RefusedCall(
        account_id=None,
        id="1",
        code="platform_busy",
        status=503,
        quota="",
        tier=None,
        model="",
        dialect="openai.chat",
        began_ns=0,
        ended_ns=1,
    )
    observers.call_refused(refused, ())
    page = Page(exporter.page(ServiceState(), "")[0].decode())

    assert 1 == page.sum("metering_calls_total")
    assert 1 == page.sum("metering_refusals_total", tier="unknown")
    assert 1 == page.sum("metering_limits_duration_seconds_count", outcome="answered")


async def test_what_a_killed_process_never_told_is_told_by_who_takes_over(
    open_service, tmp_path
):
    """The call that was running is counted once, by what the ledger charges for it."""

    async def app(scope, receive, send):
        shutil.copytree(tmp_path / "journal", tmp_path / "left")
        await FakeModel()(scope, receive, send)

    async with open_service(app) as service:
        await service.chat(await service.account("acme", tier=1))
    shutil.rmtree(tmp_path / "journal")
    (tmp_path / "left").rename(tmp_path / "journal")
    async with open_service() as service:
        metrics = service.meter.metrics()
        await service.account("acme", tier=1)
        await service.meter.start()
        (recovered,) = await service.events("acme")
        page = await page_of(metrics)

    micros = page.sum("metering_charges_microusd_total")
    rest_p = page.sum("metering_charges_rest_picousd_total")
    assert recovered.charge_p == micros * 10**6 + rest_p > 0
    assert 1 == page.sum("metering_calls_total", ending="recovered")
