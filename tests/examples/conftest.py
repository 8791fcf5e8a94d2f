"""Runs an example as a user would: in a folder of its own, in processes of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

EXAMPLES = Path(__file__).parents[2] / "examples"


class Example:
    """A copy of an example's folder, what is run there, and who calls it."""

    def __init__(self, folder):
        self.folder = folder
        self.env = os.environ | {
            "METERING_DATA": str(folder / ".metering"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }
        self.said = []

    @contextmanager
    def running(self, *command, servers=1):
        """Run a command; yield the URLs of so many servers when they listen."""
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as served:
            try:
                urls = []
                while len(urls) < servers:
                    line = served.stdout.readline()
                    assert line, "".join(self.said)
                    self.said.append(line)
                    urls += re.findall(r"running on (http://\S+)", line)
                yield urls
            finally:
                served.terminate()
                self.said += served.stdout

    @contextmanager
    def uvicorn(self, app):
        """Serve an app with uvicorn; yield its URL."""
        with self.running("uvicorn", app, "--port=0") as (url,):
            yield url

    def metering(self, *arguments):
        """Run the command line; return what it answers."""
        ran = subprocess.run(
            (sys.executable, "-m", "metering", *arguments, "--json"),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == ran.returncode, ran.stderr
        return json.loads(ran.stdout)

    def ask(self, url, key, model, words="one two three", **body):
        """Call a model with OpenAI's client; return its answer, read to the end."""
        with (
            httpx.Client() as http,
            OpenAI(
                base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=http
            ) as client,
        ):
            answer = client.chat.completions.with_raw_response.create(
                model=model, messages=[{"role": "user", "content": words}], **body
            )
            if body.get("stream"):
                list(answer.parse())
            return answer


@pytest.fixture
def example(tmp_path):
    """Return a function that copies an example."""

    def copied(name):
        folder = tmp_path / name
        shutil.copytree(
            EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
        return Example(folder)

    return copied
