"""The README's lines, by somebody who has the wheel and an empty folder."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLAIN = """
from contextlib import asynccontextmanager

@asynccontextmanager
async def lifespan(app):
{second}
    print("key:", key)
    yield

{first}
from metering.testing import FakeModel
app.router.lifespan_context = lifespan
app.mount("/", FakeModel(output_tokens=64))
"""
CLIENT = """
from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key="{key}")
answer = client.chat.completions.with_raw_response.create(
    model="zai-org/GLM-4.7", messages=[{{"role": "user", "content": "one two three"}}]
)
print(answer.headers["x-usage-cost-usd"], answer.headers["x-output-tokens-limit"])
"""


def test_the_readme_s_lines_outside_of_the_repository(with_extra):
    """Uvicorn serves its app, OpenAI's client is served and charged, in tier 2."""
    first, second = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    indented = "".join(f"    {line}" for line in second.splitlines(keepends=True))
    here = with_extra("demo")
    (here.empty / "main.py").write_text(PLAIN.format(first=first, second=indented))
    serve = (here.program("python"), "-um", "uvicorn", "main:app", "--port=0")
    with subprocess.Popen(
        serve,
        cwd=here.empty,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as served:
        try:
            said = ""
            while "running on" not in said:
                line = served.stdout.readline()
                assert line, said
                said += line
            (key,) = re.findall(r"^key: (\S+)", said, re.MULTILINE)
            (url,) = re.findall(r"running on (\S+)", said)
            client = CLIENT.format(url=url, key=key)
            paid = here.python("-c", client)
        finally:
            served.terminate()
            served.stdout.read()

    assert "0.0001426 16384\n" == paid
    assert (here.empty / ".metering" / "ledger.db").exists()
