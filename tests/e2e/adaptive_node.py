"""A node that takes its part of a platform until it is killed. Run with: DATA REDIS."""

import sys
from dataclasses import replace

import anyio

from metering import Metering
from metering.config import OutageSettings, plan_from_preset


async def main(data, redis_url):
    """Take a place among the nodes, say so, and keep it."""
    plan = replace(
        plan_from_preset("friendli"),
        data=data,
        limits_store=redis_url,
        outage=OutageSettings(deadline_ms=5_000),
    )
    meter = Metering(plan)
    await meter.start()
    sys.stdout.write("here\n")
    sys.stdout.flush()
    await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
