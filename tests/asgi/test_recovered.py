"""What is posted of a call whose process died says so, and until when it is known."""

import json
import shutil

import pytest

from metering.clock import NS_PER_S
from metering.journal import adopt_orphans
from metering.stores import PostReport

pytestmark = pytest.mark.anyio

USAGE = {"prompt_tokens": 9, "completion_tokens": 4}


class Streaming:
    """An app that streams, and whose journal is copied as a kill would leave it."""

    def __init__(self, usage):
        self.usage = usage
        self.service = None
        self.copies = []

    async def __call__(self, _scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        self.copy("opened")
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for _ in range(2):
            self.service.clock.advance(seconds=3)
            event = {"choices": [{"index": 0, "delta": {"content": "word"}}]}
            event |= {"usage": self.usage} if self.usage else {}
            body = b"data: %s\n\n" % json.dumps(event).encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
        self.copy("streaming")
        body = b"data: [DONE]\n\n"
        await send({"type": "http.response.body", "body": body})

    def copy(self, name):
        data = self.service.meter.data
        to = data / f"killed-{name}"
        shutil.copytree(data / "journal", to / "journal")
        self.copies.append(to)


def _adopted(home):
    events = []

    def post(batch):
        events.extend(batch)
        return PostReport(tuple(event.id for event in batch))

    adopt_orphans(home, post)
    return events


@pytest.mark.parametrize(
    ("usage", "flags"),
    [(USAGE, ("recovered",)), (None, ("estimated", "recovered"))],
)
async def test_it_says_how_it_is_known_and_until_when(open_service, usage, flags):
    """Of an admission there is only an estimate; a checkpoint may have true counts."""
    app = Streaming(usage)
    async with open_service(app) as service:
        app.service = service
        admitted_ns = service.clock()
        await service.chat(await service.account("acme", tier=1), stream=True)

    (opened,), (streaming,) = (_adopted(home) for home in app.copies)
    assert ("recovered", ("estimated", "recovered"), admitted_ns) == (
        opened.ending,
        opened.flags,
        opened.ended_ns,
    )
    assert ("recovered", flags, admitted_ns + 6 * NS_PER_S) == (
        streaming.ending,
        streaming.flags,
        streaming.ended_ns,
    )
