"""Floors: the least that anyone could write by hand for the same work."""

import os
import time
from hashlib import sha256
from typing import Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ByHand", "DictGcra", "count_one"]

CAP = 32 * 1024
PRICE_P = 100_000
LIMIT_P = 8_000_000 * 10**12
AMOUNT = 1_000_000_000
INTERVAL_NS = 60 * 10**9 // AMOUNT
BURST_NS = AMOUNT * INTERVAL_NS


def count_one(counts: dict[str, int], key: str) -> None:
    """Count one: `dict[key] += 1`, which decides nothing."""
    counts[key] += 1


class DictGcra:
    """A rate limit on a dict: one float a key, no tiers, no holds, no eviction.

    The smallest one that still tells what remains and how long to wait.
    """

    def __init__(self, amount: int, per_s: float) -> None:
        self._dues: dict[str, float] = {}
        self._unit_s: Final = per_s / amount
        self._per_s: Final = amount / per_s
        self._burst_s: Final = per_s

    async def hit(self, key: str, cost: int, now_s: float) -> tuple[bool, float, float]:
        """Return whether it is granted, what remains, and the seconds to wait."""
        due_s = self._dues.get(key, now_s)
        if due_s < now_s:  # noqa: PLR1730 - a floor spares itself the call of max()
            due_s = now_s
        due_s += cost * self._unit_s
        over_s = due_s - now_s - self._burst_s
        if over_s > 1e-9:
            return False, 0.0, over_s
        self._dues[key] = due_s
        return True, -over_s * self._per_s, 0.0


class Counts(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class Answer(msgspec.Struct):
    usage: Counts


class Entry(msgspec.Struct):
    """One journal line."""

    kind: str
    id: str
    account: str
    model: str
    at_ns: int
    hold_p: int
    output_tokens_max: int
    status: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    charge_p: int = 0


class ByHand:
    """Metering as one function: the work of the whole stack, for one kind of call.

    It knows one path, one account, one model with a token price and one quota, reads
    plain JSON answers sent in one piece, and takes for granted that nothing fails: no
    refusal in words, no lease, no stream, no client that leaves, no seed, no recovery.

    Args:
        app: What to wrap.
        secret: The API key of the one account.
        journal_fd: File to which lines are written, without a sync.
    """

    def __init__(self, app: ASGIApp, *, secret: str, journal_fd: int) -> None:
        self._app = app
        self._accounts = {sha256(secret.encode()).hexdigest(): "acme"}
        self._fd = journal_fd
        self._due_ns = {"acme": 0}
        self._spent_p = {"acme": 0}
        self._held_p: dict[str, int] = {}
        self._members = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._answer = msgspec.json.Decoder(Answer)
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["path"] != "/v1/chat/completions":
            await self._app(scope, receive, send)
            return
        now_ns = time.time_ns()
        secret = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                secret = value[7:]
        account = self._accounts[sha256(secret).hexdigest()]
        body = (await receive())["body"]
        members = self._members.decode(body)
        model = str(members["model"], "utf-8")
        cap = min(int(bytes(members["max_tokens"])), CAP)
        members["max_tokens"] = msgspec.Raw(b"%d" % cap)
        body = self._encode(members)
        hold_p = (len(body) + cap) * PRICE_P
        due_ns = max(self._due_ns[account], now_ns) + INTERVAL_NS
        spent_p = self._spent_p[account] + sum(self._held_p.values())
        if due_ns - now_ns > BURST_NS or spent_p + hold_p > LIMIT_P:
            await send({"type": "http.response.start", "status": 429, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        self._due_ns[account] = due_ns
        call_id = os.urandom(16).hex()
        self._held_p[call_id] = hold_p
        entry = Entry("open", call_id, account, model, now_ns, hold_p, cap)
        os.write(self._fd, self._encode(entry) + b"\n")
        headers = [h for h in scope["headers"] if h[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % len(body)))
        inner = {**scope, "headers": headers}
        start: Message = {}

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def watch(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            usage = self._answer.decode(message["body"]).usage
            charge_p = (usage.prompt_tokens + usage.completion_tokens) * PRICE_P
            entry.kind = "closed"
            entry.at_ns = time.time_ns()
            entry.status = start["status"]
            entry.input_tokens = usage.prompt_tokens
            entry.output_tokens = usage.completion_tokens
            entry.charge_p = charge_p
            os.write(self._fd, self._encode(entry) + b"\n")
            left = (BURST_NS - (due_ns - now_ns)) // INTERVAL_NS
            reset_s = -(-(due_ns - now_ns) // 10**9)
            told = [
                (b"x-usage-id", call_id.encode()),
                (b"x-request-id", call_id.encode()),
                (b"x-ratelimit-limit-requests", b"%d" % AMOUNT),
                (b"x-ratelimit-remaining-requests", b"%d" % left),
                (b"x-ratelimit-reset-requests", b"%ds" % reset_s),
                (b"ratelimit-policy", b'"requests";q=%d;w=60' % AMOUNT),
                (b"ratelimit", b'"requests";r=%d;t=%d' % (left, reset_s)),
                (b"x-output-tokens-limit", b"%d" % cap),
                (b"x-usage-cost-usd", b"%d.%012d" % divmod(charge_p, 10**12)),
                (b"x-should-retry", b"false"),
            ]
            await send({**start, "headers": [*start["headers"], *told]})
            await send(message)
            self._settled_ns = time.time_ns()
            del self._held_p[call_id]
            self._spent_p[account] += charge_p

        await self._app(inner, replay, watch)
