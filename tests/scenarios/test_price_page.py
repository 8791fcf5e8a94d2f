"""The example of a price page that changed over a year prices and holds exactly."""

import io
import wave
from pathlib import Path

import pytest

from metering.accounts import Account
from metering.config import load_plan
from metering.money import parse_usd
from metering.pricing import PriceVersion
from metering.testing.model import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2].joinpath("docs/examples/price-page.toml").read_text()
JANUARY = "2026-01-15T00:00:00Z"
APRIL = "2026-04-01T00:00:00Z"
JULY = "2026-07-01T00:00:00Z"
CACHED = {
    "prompt_tokens": 10_000,
    "prompt_tokens_details": {"cached_tokens": 7_500},
    "completion_tokens": 1_200,
}


@pytest.fixture
def price(at):
    """Return the price of a model at an instant."""
    book = load_plan(PAGE, source="price-page.toml").prices

    def of(model: str, instant: str) -> PriceVersion:
        priced = book.model(model)
        found = priced and priced.at(at(instant))
        assert found is not None
        return found

    return of


async def event_of(service, model, **body):
    """Return the event of one call, and let a while pass."""
    reply = await service.call(model, **body)
    assert reply.status_code == 200, reply.text
    service.clock.advance(seconds=60)
    return service.events()[0]


@pytest.mark.parametrize(("usd", "tier"), [("9.999999999999", 0), ("10", 1), ("50", 2)])
def test_a_tier_is_qualified_for_by_ten_dollars(usd, tier):
    """A payment method is of no account any more."""
    tiers = load_plan(PAGE, source="price-page.toml").tiers
    account = Account(
        id="acme",
        created_ns=0,
        payment_method=True,
        lifetime_paid_p=parse_usd(usd),
    )

    assert tier == tiers.tier_of(account, 0).level


@pytest.mark.parametrize(("usd", "chat", "thinker"), [(None, 4, 8), ("10", 16, 32)])
async def test_models_that_reason_have_caps_of_their_own(
    open_service, usd, chat, thinker
):
    """Each is what the output is held at, its reasoning at the dearer price."""
    async with open_service(PAGE, JULY) as service:
        if usd is not None:
            await service.meter.billing.record_payment(
                "acme", usd=usd, reference="pi_1", kind="credit_purchase"
            )
        service.app.usage = CACHED
        plain = await event_of(service, "chat")
        reasoned = await event_of(service, "acme/thinker")

    caps = chat * 1024, thinker * 1024
    assert caps == (plain.output_tokens_max, reasoned.output_tokens_max)
    plain_input = divmod(plain.hold_p - caps[0] * 3_200_000, 1_000_000)
    reasoned_input = divmod(reasoned.hold_p - caps[1] * 2_500_000, 600_000)
    longer_name = len("acme/thinker") - len("chat")  # a byte is a token at most
    assert (plain_input[0] + longer_name, 0) == reasoned_input
    assert plain_input[1] == 0


async def test_what_is_reasoned_costs_more(open_service):
    """1,000 in, 500 out of which 300 reasoning."""
    async with open_service(PAGE, JULY) as service:
        service.app.usage = {
            "prompt_tokens": 1_000,
            "completion_tokens": 500,
            "completion_tokens_details": {"reasoning_tokens": 300},
        }
        event = await event_of(service, "acme/thinker")

    assert 1_000 * 600_000 + 200 * 2_200_000 + 300 * 2_500_000 == event.charge_p


@pytest.mark.parametrize(
    ("instant", "usd"),
    [
        ("2026-02-28T23:59:59.999Z", "0.01384"),
        ("2026-03-01T00:00:00.000Z", "0.01009"),
        (JULY, "0.01009"),
    ],
)
async def test_cached_input_has_a_price_from_march_on(open_service, instant, usd):
    """10,000 in of which 7,500 cached, 1,200 out."""
    async with open_service(PAGE, instant) as service:
        service.app.usage = CACHED
        event = await event_of(service, "chat")

    assert parse_usd(usd) == event.charge_p


@pytest.mark.parametrize(("instant", "dearer"), [(APRIL, False), (JULY, True)])
def test_a_long_input_costs_more_from_june_on(price, instant, dearer):
    """All of the tokens of the call; it is held so where its input can be so long."""
    chat = price("acme/chat", instant)
    usage = Usage(input_tokens=150_001, cache_read_tokens=50_000, output_tokens=1_000)
    plain_p = 150_001 * 1_000_000 + 50_000 * 500_000 + 1_000 * 3_200_000
    long_p = 150_001 * 2_000_000 + 50_000 * 1_000_000 + 1_000 * 4_800_000

    assert (long_p if dearer else plain_p) == chat.charge_p(usage)
    assert chat.worst_case_p(input_tokens=200_000, output_tokens=4_096) == (
        200_000 * 1_000_000 + 4_096 * 3_200_000
    )
    assert chat.worst_case_p(input_tokens=200_001, output_tokens=4_096) == (
        200_001 * 2_000_000 + 4_096 * 4_800_000
        if dearer
        else 200_001 * 1_000_000 + 4_096 * 3_200_000
    )


async def test_an_image_of_unknown_size_is_held_at_the_dearest_step(open_service):
    """Nothing but the context length bounds such an input: 1,048,576 tokens."""
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    messages = [{"role": "user", "content": [image]}]
    async with open_service(PAGE, JULY) as service:
        service.app.usage = {"prompt_tokens": 1_000, "completion_tokens": 10}
        event = await event_of(service, "chat", messages=messages, max_tokens=100)

    assert 1_048_576 * 2_000_000 + 100 * 4_800_000 == event.hold_p
    assert 1_000 * 1_000_000 + 10 * 3_200_000 == event.charge_p


@pytest.mark.parametrize(
    ("audio_ms", "usd"),
    [(12_345, "0.0012345"), (999, "0.0001"), (1, "0.0001"), (0, "0")],
)
def test_speech_is_billed_by_the_second_of_audio(price, audio_ms, usd):
    """Counted in milliseconds, of which a call pays for 1,000 at least."""
    audio = price("acme/transcribe", JULY)

    assert parse_usd(usd) == audio.charge_p(Usage(audio_ms=audio_ms))
    assert parse_usd("0.72") == audio.worst_case_p(audio_ms=7_200_000)


async def test_a_recording_is_held_at_the_longest_and_charged_by_its_length(
    open_service,
):
    """12 s of audio: $0.0012 of the $0.72 that two hours would be."""
    recording = io.BytesIO()
    with wave.open(recording, "wb") as file:
        file.setparams((1, 1, 8_000, 0, "NONE", ""))
        file.writeframes(bytes(12 * 8_000))
    async with open_service(PAGE, JULY, FakeModel()) as service:
        reply = await service.client.post(
            "/v1/audio/transcriptions",
            data={"model": "acme/transcribe"},
            files={"file": ("speech.wav", recording.getvalue())},
            headers={"authorization": f"Bearer {service.key}"},
        )
        assert reply.status_code == 200, reply.text
        (event,) = service.events()

    assert (12_000, parse_usd("0.0012")) == (event.usage.audio_ms, event.charge_p)
    assert parse_usd("0.72") == event.hold_p


def test_speech_was_billed_by_compute_time_before(price):
    timed = price("acme/transcribe", APRIL)

    assert parse_usd("0.02469") == timed.charge_p(
        Usage(compute_ms=12_345, audio_ms=99_999)
    )
