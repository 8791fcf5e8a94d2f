"""How long importing takes, in a process of its own, beside what any such app imports.

Run from the root of the repository:

    pytest benchmarks/test_imports.py -p benchmark
"""

import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

NOTHING = "pass"
FLOOR = "import starlette.applications, msgspec, structlog"
IMPORTED = {
    "import metering": "import metering",
    "a limiter alone": "from metering import Limiter, LimiterMiddleware, Parts",
    "from metering import Metering": "from metering import Metering",
    "and a ledger opened": "from metering import Metering\n"
    "Metering.from_preset('friendli')",
}
ROUNDS = 9
GOAL_MS = 150


def processor_ms() -> float:
    """Return what processes that have ended have used: others leave few traces."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


@pytest.mark.timeout(120)
def test_imports(tell, tmp_path: Path) -> None:
    """In turns, compiled before; the start of Python itself is taken off."""
    # A machine may be told not to write what is compiled, and then each import would
    # compile anew what an installer has compiled for others.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    sources = [NOTHING, FLOOR, *IMPORTED.values()]
    spent_ms: dict[str, list[float]] = {source: [] for source in sources}
    for _ in range(1 + ROUNDS):
        for source in sources:
            began_ms = processor_ms()
            subprocess.run([sys.executable, "-c", source], env=env, check=True)  # noqa: S603
            spent_ms[source].append(processor_ms() - began_ms)
    usual_ms = {source: median(spent[1:]) for source, spent in spent_ms.items()}
    floor_ms = usual_ms[FLOOR] - usual_ms[NOTHING]
    for name, source in IMPORTED.items():
        tell(
            f"import: {name}",
            usual_ms[source] - usual_ms[NOTHING],
            "ms",
            floor=floor_ms,
            value_max=None if "ledger" in name else GOAL_MS,
        )
