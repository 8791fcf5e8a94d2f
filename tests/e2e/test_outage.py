"""The store of limits accepts connections and never answers: bounded, and as agreed."""

import socket
import threading

import httpx
import pytest

from metering.config import OutageSettings

FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture
def silent_url():
    """Address of a server that takes what it is sent, and says nothing."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            try:
                while True:
                    taken.append(listener.accept()[0])
            except OSError:
                pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield "redis://127.0.0.1:{1}".format(*listener.getsockname())
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for connection in taken:
        connection.close()


@pytest.fixture
def chat(run_service, silent_url):
    """Return what sends a chat request to a service over the silent store."""

    def serve(**outage):
        service = run_service(
            limits_store=silent_url, outage=OutageSettings(nodes=4, **outage)
        )
        key = service.account("acme", tier=1)

        def send(model):
            return httpx.post(
                f"{service.url}/v1/chat/completions",
                json={"model": model, "messages": []},
                headers={"authorization": f"Bearer {key}"},
            )

        return send

    return serve


def test_by_default_rates_go_on_and_money_waits(chat):
    """A quarter of 60 free requests is served by this node; a paid one gets a 503."""
    send = chat()
    paid = send(LLAMA)
    free = [send(FREE).status_code for _ in range(16)]

    assert (503, "storage_unavailable") == (
        paid.status_code,
        paid.json()["error"]["code"],
    )
    assert "1" == paid.headers["retry-after"]
    assert [200] * 15 + [429] == free


def test_a_share_of_money_can_be_agreed_on(chat):
    """A quarter of tier 1's $50 is more than one call may cost."""
    assert 200 == chat(money="local_share")(LLAMA).status_code


def test_all_can_be_refused(chat):
    send = chat(rates="refuse")

    assert [503, 503] == [send(FREE).status_code, send(LLAMA).status_code]
