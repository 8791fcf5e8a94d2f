"""Several nodes on this machine, each with a data home of its own.

    export METERING_LIMITS=redis://localhost:6379
    export METERING_LEDGER=postgresql://metering@localhost/metering
    metering migrate --config plan.toml
    python nodes.py 3

They listen on ports 8000, 8001 and 8002, or from the port of a second argument on.
"""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress


def main(count: int, first_port: int = 8000) -> None:
    """Run so many nodes until they end, or until Ctrl-C."""
    with ExitStack() as nodes:
        started = []
        for number in range(count):
            command = [sys.executable, "-m", "uvicorn", "node:app"]
            # A node's journal is its own; two of them never share one.
            home = {"METERING_DATA": f".metering/node-{number}"}
            node = subprocess.Popen(  # noqa: S603 - our own program
                [*command, f"--port={first_port + number}"], env=os.environ | home
            )
            started.append(nodes.enter_context(node))
            nodes.callback(node.terminate)
        with suppress(KeyboardInterrupt):
            for node in started:
                node.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does
    main(*map(int, sys.argv[1:] or ["3"]))
