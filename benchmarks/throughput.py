"""Answers a second of uvicorn with one worker, with the stack and without, under wrk.

Run with `make throughput`; `wrk` must be installed. The same module serves, as
`python -m benchmarks.throughput APP FD`, and prints the key that it takes.
"""

import asyncio
import json
import logging
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import structlog
import uvicorn
from benchmarks.service import JsonApp, StreamApp, metered
from starlette.types import ASGIApp

__all__ = ["main"]

ROUNDS, SECONDS, CONNECTIONS = 5, 2, 50
CHUNKS = 64
HOST = "127.0.0.1"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
CHAT = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Why is the sky blue? " * 90}],
    "max_tokens": 100_000,  # above the cap, so that the body is written anew
}
SCRIPT = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {key}"
wrk.body = [==[{body}]==]
"""


def app_of(name: str) -> ASGIApp:
    """Return the bare app that a name begins with."""
    return JsonApp() if name.startswith("json") else StreamApp(CHUNKS, usage=True)


async def serve(name: str, fd: int) -> None:
    """Serve one app; `+stack` behind its name puts the stack around it."""
    # Its log goes where the key is read, which nobody reads on.
    quiet = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=quiet)
    # asyncio warns of each write to the streams that are cut when wrk stops.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    app = app_of(name)
    with tempfile.TemporaryDirectory() as home:
        async with metered(Path(home)) as (meter, key):
            served = meter.wrap(app) if name.endswith("+stack") else app
            config = uvicorn.Config(served, access_log=False, log_level="error")
            print(key, flush=True)
            await uvicorn.Server(config).serve([socket.socket(fileno=fd)])


@contextmanager
def running(name: str, scripts: Path) -> Iterator[list[str]]:
    """Run a server in a process of its own; give the command that loads it."""
    with socket.create_server((HOST, 0), backlog=256) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        server = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", __spec__.name, name, str(fd)],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[fd],
        )
        try:
            assert server.stdout is not None
            body = json.dumps(CHAT | {"stream": not name.startswith("json")})
            script = scripts / f"{name}.lua"
            key = server.stdout.readline().strip()
            script.write_text(SCRIPT.format(key=key, body=body))
            url = f"http://{HOST}:{port}/v1/chat/completions"
            bounds = ["-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s"]
            yield ["wrk", *bounds, "-s", str(script), url]
        finally:
            server.terminate()
            server.wait()


def answers_per_s(command: list[str]) -> float:
    """Load a server for some seconds; any answer but a good one ends the run."""
    told = subprocess.run(  # noqa: S603 - made above
        command, check=True, capture_output=True, text=True
    ).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        sys.exit(told)
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert found is not None
    return float(found[1])


def compare(kind: str, scripts: Path) -> None:
    """Take turns, and print the median of what each round's two runs came to."""
    with ExitStack() as servers:
        bare = servers.enter_context(running(kind, scripts))
        stack = servers.enter_context(running(f"{kind}+stack", scripts))
        answers_per_s(bare), answers_per_s(stack)
        pairs = [(answers_per_s(bare), answers_per_s(stack)) for _ in range(ROUNDS)]
    ratios = sorted(with_stack / without for without, with_stack in pairs)
    without, with_stack = (median(column) for column in zip(*pairs, strict=True))
    print(
        f"{kind}: {without:.0f} answers/s without, {with_stack:.0f} with the stack;"
        f" ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def main() -> None:
    """Compare plain answers, then streams."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; it is in most systems' packages as `wrk`.")
    with tempfile.TemporaryDirectory() as scripts:
        for kind in ("json", "stream"):
            compare(kind, Path(scripts))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
    else:
        main()
