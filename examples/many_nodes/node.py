"""One node: the same app in each process, on whichever host."""

from fastapi import FastAPI

from metering import Metering
from metering.testing import FakeModel

app = FastAPI()
app.mount("/", FakeModel(output_tokens=64))  # your own endpoints would stand here
app.add_middleware(Metering.from_file("plan.toml").wrap)
