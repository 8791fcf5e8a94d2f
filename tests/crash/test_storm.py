"""A short storm of `make crash`: killed servers, a locked ledger, a full disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).with_name("storm.py")
SHORT = [
    "--seconds",
    "3",
    "--kills",
    "6",
    "--workers",
    "2",
    "--down",
    "1",
    "--full",
    "0.5",
]


@pytest.mark.timeout(120)
def test_what_is_journalled_is_charged_once_whatever_dies():
    """Scenario 21: no call is lost, charged twice or otherwise, and nothing is held."""
    ended = subprocess.run(
        [sys.executable, STORM, *SHORT], capture_output=True, text=True, check=False
    )

    assert 0 == ended.returncode, ended.stdout + ended.stderr
    report = json.loads(ended.stdout)
    assert {0} == set(report["faults"].values())
    assert report["kills"] >= 6
    assert 0 < report["journalled"] == report["charged"]
