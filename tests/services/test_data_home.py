"""A data home that cannot be used is an error with its path and the way out."""

import pytest

from metering import ConfigurationError, Metering

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["a file", "under a file", "lock in the way"])
def bad_home(request, tmp_path):
    """A path that can be no data home."""
    home = tmp_path / "home"
    if request.param == "lock in the way":
        (home / "process.lock").mkdir(parents=True)
        return home
    home.write_text("in the way")
    return home if request.param == "a file" else home / "data"


async def test_it_is_named_at_start(bad_home, monkeypatch):
    """A traceback of the system would not say what to set."""
    monkeypatch.setenv("METERING_DATA", str(bad_home))
    meter = Metering.from_preset("friendli")

    with pytest.raises(
        ConfigurationError, match=rf"{bad_home} cannot be used: .*METERING_DATA"
    ):
        await meter.start()

    await meter.stop()


async def test_two_of_one_home_in_one_process_are_told_so(tmp_path, monkeypatch):
    """The second would grant all limits anew, whoever has the first."""
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    first, second = (Metering.from_preset("friendli") for _ in range(2))
    await first.start()

    with pytest.raises(ConfigurationError, match="Another Metering uses the data home"):
        await second.start()

    await first.stop()
    await second.stop()
