"""What a store of prices promises."""

import pytest

from metering.errors import ConfigurationError
from metering.pricing import PriceVersion, PublishedPrices, Rate, Step
from metering.stores import Ledger
from metering.testing.contracts.samples import at

__all__ = ["PriceStoreContract"]

_NOW_NS = at("2026-02-01T00:00")
_MARCH_NS = at("2026-03-01T00:00")


def _glm(
    input_p: int, from_ns: int = 0, to_ns: int | None = None, model: str = "GLM-4.7"
) -> PriceVersion:
    return PriceVersion(
        model=model,
        kind="token",
        valid_from_ns=from_ns,
        valid_to_ns=to_ns,
        rates={"input_tokens": Rate(input_p), "output_tokens": Rate(2_200_000)},
    )


class PriceStoreContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    def test_publishes_a_price_once(self, ledger: Ledger) -> None:
        """Each process publishes its book at start; only the first adds anything."""
        prices = [
            _glm(600_000),
            PriceVersion(
                model="gpu-hour",
                kind="time",
                valid_to_ns=_MARCH_NS,
                rates={"compute_ms": Rate(29 * 10**11, 3_600_000)},
            ),
            PriceVersion(model="open", kind="free", valid_from_ns=5),
            PriceVersion(
                model="speech",
                kind="audio",
                rates={"audio_ms": Rate(4, 3, 10_000), "requests": Rate(7)},
            ),
            PriceVersion(
                model="stepped",
                kind="token",
                rates={"input_tokens": Rate(1), "output_tokens": Rate(5, 2)},
                steps=(
                    Step(200_000, {"input_tokens": Rate(3, 2)}),
                    Step(400_000, {"cache_read_tokens": Rate(1, 7)}),
                ),
            ),
        ]

        first = ledger.publish(reversed(prices), now_ns=_NOW_NS)
        second = ledger.publish(prices, now_ns=_NOW_NS)

        assert (first, second) == (5, 0)
        assert prices == ledger.published()

    def test_a_price_may_end_ahead_and_another_follow(self, ledger: Ledger) -> None:
        """Whatever was charged by the first price stays explained by it."""
        ledger.publish([_glm(600_000)], now_ns=_NOW_NS)
        book = [_glm(600_000, 0, _MARCH_NS), _glm(500_000, _MARCH_NS)]

        added = ledger.publish(book, now_ns=_NOW_NS)
        later = ledger.publish(book, now_ns=_MARCH_NS + 1)

        assert (added, later) == (1, 0)
        assert book == ledger.published()

    def test_refuses_to_change_the_past(self, ledger: Ledger) -> None:
        """Charges were made by the price; nothing of the new book is kept."""
        ledger.publish([_glm(600_000)], now_ns=_NOW_NS)

        with pytest.raises(ConfigurationError, match=r"GLM-4\.7"):
            ledger.publish(
                [_glm(600_001), _glm(1, model="another")], now_ns=_NOW_NS + 1
            )

        assert [_glm(600_000)] == ledger.published()

    def test_a_price_not_yet_in_force_may_be_withdrawn(self, ledger: Ledger) -> None:
        """Nobody was charged by it, and later it stands in nobody's way."""
        book = [_glm(600_000, 0, _MARCH_NS), _glm(500_000, _MARCH_NS)]
        ledger.publish(book, now_ns=_NOW_NS)

        added = ledger.publish([_glm(600_000)], now_ns=_NOW_NS)
        later = ledger.publish([_glm(600_000)], now_ns=_MARCH_NS + 1)

        assert (added, later) == (0, 0)
        assert [_glm(600_000)] == ledger.published()

    def test_prices_of_models_not_named_stay(self, ledger: Ledger) -> None:
        """What a model cost must be known after it has left the book."""
        ledger.publish([_glm(600_000, model="old")], now_ns=_NOW_NS)

        ledger.publish([_glm(600_000, model="new")], now_ns=_NOW_NS)

        assert [version.model for version in ledger.published()] == ["new", "old"]

    def test_refuses_prices_that_overlap(self, ledger: Ledger) -> None:
        """One instant has one price."""
        with pytest.raises(ConfigurationError, match="overlap"):
            ledger.publish([_glm(600_000), _glm(1, _MARCH_NS)], now_ns=_NOW_NS)

        assert ledger.published() == []

    def test_what_a_past_call_costs_is_found_again(self, ledger: Ledger) -> None:
        """By the id on its event, and by its model and the instant of its admission."""
        old, new = _glm(600_000, 0, _MARCH_NS), _glm(500_000, _MARCH_NS)
        ledger.publish([old, new], now_ns=_NOW_NS)

        prices = PublishedPrices(ledger.published())

        assert old == prices.by_id(old.id) == prices.at("GLM-4.7", _MARCH_NS - 1)
        assert new == prices.by_id(new.id) == prices.at("GLM-4.7", _MARCH_NS)
