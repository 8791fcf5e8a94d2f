"""Limits that are counted in a real Valkey, over a real socket."""

import httpx
import pytest

from metering.backends import windows
from metering.clock import NS_PER_S
from metering.limit_rules import LimitRule
from metering.quota import RateQuota

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.mark.slow_start
@pytest.mark.parametrize("window", ["fixed", "moving", "sliding"])
def test_two_servers_admit_three_calls_together(
    run_service, redis_url, tmp_path, window, monkeypatch
):
    """Two processes would do the same: they share a data home, limits and windows."""
    # What is counted is tested here, not how fast a loaded machine is.
    monkeypatch.setattr(windows, "DEADLINE_S", 5.0)
    limits = (
        LimitRule(name="calls", quotas=(RateQuota(3, 3600 * NS_PER_S),), window=window),
    )
    services = [
        run_service(
            limits=limits,
            limits_store=f"sqlite:///{tmp_path / 'limits.db'}",
            windows_store=redis_url,
        )
        for _ in range(2)
    ]
    key = services[0].account(f"acme-{window}-{tmp_path.name}", tier=1)
    answers = [
        httpx.post(
            f"{service.url}/v1/chat/completions",
            json={"model": LLAMA, "messages": []},
            headers={"authorization": f"Bearer {key}"},
        )
        for service in services * 2
    ]

    assert [200, 200, 200, 429] == [answer.status_code for answer in answers]
    left = [a.headers["x-ratelimit-remaining-requests"] for a in answers]
    assert ["2", "1", "0", "0"] == left
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3601
