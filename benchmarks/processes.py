"""Runs a program in several processes at once, and gathers what each has seen."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

__all__ = ["run_together"]

ROOT = Path(__file__).parents[1]


def run_together(module: str, *arguments: tuple[str, ...]) -> list[str]:
    """Return what each process printed last.

    Each says "ready", and begins when all have said it and a line is sent to it.

    Args:
        module: Such as `benchmarks.sqlite_load`.
        arguments: Those of each process.
    """
    with ExitStack() as processes:
        running = [
            processes.enter_context(
                subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-m", module, *argv],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for argv in arguments
        ]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [process.communicate()[0] for process in running]
