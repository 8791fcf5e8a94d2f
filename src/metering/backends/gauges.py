"""The gauges that URLs name; what reads them is imported only where it is used."""

from collections.abc import Mapping

from metering.errors import ConfigurationError
from metering.gauges import ReadQueue

__all__ = ["gauges_of"]


def gauges_of(urls: Mapping[str, str]) -> dict[str, ReadQueue]:
    """Return what reads the queue of each pool, by its name.

    Raises:
        ConfigurationError: A URL cannot be used, or what reads it is not installed.
    """
    if not urls:
        return {}
    try:
        from metering.backends.engine_gauges import PrometheusGauges  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"Gauges need a package that is not installed ({error.name}):"
            " pip install 'asgi-metering[engine]'."
        ) from error
    return {pool: PrometheusGauges(url) for pool, url in urls.items()}
