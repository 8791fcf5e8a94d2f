"""How many calls are queued in a vLLM or SGLang, as its page of metrics tells."""

import ssl

import anyio
import httpx
from prometheus_client.parser import text_string_to_metric_families

from metering.errors import ConfigurationError, StorageError, without_credentials

__all__ = ["PrometheusGauges"]

BYTES_MAX = 4 * 1024 * 1024
TIMEOUT_S = 1.0

_QUEUES = ("vllm:num_requests_waiting", "sglang:num_queue_reqs")
"""What each engine calls it; an engine has several where it runs in parallel."""


class PrometheusGauges:
    """Reads the queue of an engine from its page of metrics, when it is called.

    Args:
        url: Where the page is, such as `http://127.0.0.1:8000/metrics`.

    Raises:
        ConfigurationError: That is no URL of HTTP.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            parsed = httpx.URL("")
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ConfigurationError(
                f"Gauges cannot be read from {without_credentials(url)!r}. Give a URL"
                " such as http://127.0.0.1:8000/metrics."
            )
        self._url = parsed
        self._tls: ssl.SSLContext | None = None

    async def __call__(self) -> float:
        """Return how many calls are queued, over all engines of the page.

        Raises:
            StorageError: There was no answer within 1 s, it was above 4 MB, or no page
                of metrics with a queue in it.
        """
        try:
            with anyio.fail_after(TIMEOUT_S):
                page = await self._page()
        except (httpx.HTTPError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise StorageError(f"Gauges cannot be read: {why}.") from error
        return _queued(page)

    async def _page(self) -> str:
        if self._tls is None:  # made once: it reads all certificates of the host
            self._tls = ssl.create_default_context()
        body = b""
        async with (
            httpx.AsyncClient(verify=self._tls, trust_env=False) as client,
            client.stream(
                "GET", self._url, headers={"accept-encoding": "identity"}
            ) as answer,
        ):
            answer.raise_for_status()
            async for part in answer.aiter_raw():
                body += part
                if len(body) > BYTES_MAX:
                    raise StorageError(
                        f"The page of gauges is above {BYTES_MAX} bytes."
                    )
        return body.decode(errors="replace")


def _queued(page: str) -> float:
    """Sum up what a page tells of queues; all its other lines are not parsed."""
    lines = [line for line in page.splitlines() if line.startswith(_QUEUES)]
    try:
        samples = [
            sample.value
            for family in text_string_to_metric_families("\n".join(lines) + "\n")
            for sample in family.samples
            if sample.name in _QUEUES
        ]
    except ValueError as error:
        raise StorageError(f"The page of gauges cannot be read: {error}.") from error
    if not samples:
        raise StorageError(f"The page has none of: {', '.join(_QUEUES)}.")
    return sum(samples)
