"""`vllm serve` without an engine: reads the flags, adds the middleware, serves.

The loop is that of vLLM 0.33.0, as `tests/e2e/test_vllm_middleware.py` reproduces it.
"""

import argparse
import importlib
import inspect

import uvicorn
from fastapi import FastAPI

from metering.testing import FakeModel

parser = argparse.ArgumentParser()
parser.add_argument("verb", choices=["serve"])
parser.add_argument("model")
parser.add_argument("--port", type=int)
parser.add_argument("--middleware", action="append", default=[])
parser.add_argument("--enable-per-request-metrics", action="store_true")
asked = parser.parse_args()

app = FastAPI()
app.mount("/", FakeModel(models=[asked.model], output_tokens=64))
for flag in asked.middleware:
    module, name = flag.rsplit(".", 1)
    found = getattr(importlib.import_module(module), name)
    if not inspect.isclass(found):
        raise ValueError(flag)
    app.add_middleware(found)
uvicorn.run(app, port=asked.port)
