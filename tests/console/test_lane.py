"""A ledger that hangs holds a few threads of the console's and none of the app's."""

import threading

import anyio
import pytest
from anyio import to_thread

from metering.console.lane import AT_ONCE_MAX, WAITING_MAX, in_lane, in_thread
from metering.errors import StorageError

GUESSES = {
    "/": lambda at: {"cookie": f"metering_console=guessed-{at}"},
    "/v1/account": lambda at: {"authorization": f"Bearer guessed-{at}"},
}


def _default_in_use():
    return to_thread.current_default_thread_limiter().borrowed_tokens


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("_turn", [1, 2])
def test_so_many_work_so_many_wait_and_more_are_sent_away(backend, _turn):
    """On each event loop anew, and when it answers again all is as before."""
    answers, began = threading.Event(), []

    def hang():
        began.append(True)
        answers.wait()

    async def never_asked():
        raise AssertionError

    async def crowd():
        in_use = started = -1
        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE_MAX + WAITING_MAX):
                tasks.start_soon(in_thread, hang)
            await anyio.wait_all_tasks_blocked()
            try:
                with pytest.raises(StorageError, match="40 requests"):
                    await in_thread(hang)
                with pytest.raises(StorageError, match="40 requests"):
                    await in_lane(never_asked)
                in_use, started = _default_in_use(), len(began)
            finally:
                answers.set()
        assert "answer" == await in_thread(str, "answer")
        return in_use, started

    in_use, started = anyio.run(crowd, backend=backend)
    assert 0 == in_use
    assert AT_ONCE_MAX >= started
    assert AT_ONCE_MAX + WAITING_MAX == len(began)


@pytest.mark.anyio
@pytest.mark.parametrize("path", GUESSES)
async def test_who_guesses_while_the_ledger_hangs_takes_no_thread_of_the_app(
    open_console, monkeypatch, path
):
    """Cookies and keys: some wait, the rest hear at once when to come back."""
    answers, asked, refused, in_use = threading.Event(), [], [], -1

    def hang(*_, **__):
        answers.wait()

    async with open_console() as console:
        await console.client.get("/console/login")
        monkeypatch.setattr(type(console.ledger.sessions), "find", hang)
        monkeypatch.setattr(console.ledger, "find_key", hang)

        async def guess(at):
            answer = await console.client.get(
                f"/console{path}", headers=GUESSES[path](at)
            )
            asked.append((answer.status_code, answer.headers.get("retry-after")))

        async with anyio.create_task_group() as tasks:
            for at in range(60):
                tasks.start_soon(guess, at)
            await anyio.wait_all_tasks_blocked()
            refused, in_use = list(asked), _default_in_use()
            answers.set()

    assert [(503, "1")] * (60 - AT_ONCE_MAX - WAITING_MAX) == refused
    assert AT_ONCE_MAX >= in_use
    assert 60 == len(asked)
    assert {303 if path == "/" else 401} == {status for status, _ in asked[20:]}
