"""A model server of one's own, whose answers tell nothing: it reports each call itself.

uvicorn service:app
"""

from pathlib import Path

from fastapi import FastAPI, Request

from metering import Metering, report

app = FastAPI()


@app.post("/v1/chat/completions")
async def chat(request: Request) -> dict:
    """Answer like OpenAI, without `usage`: it is told to the meter, not to the client.

    The figures would be your model's own; here a word is a token, and took 20 ms.
    """
    body = await request.json()
    words = body["messages"][-1]["content"].split()
    answer = [word.upper() for word in words for _ in range(2)]
    report(
        request,
        input_tokens=len(words),
        output_tokens=len(answer),
        compute_ms=20 * len(answer),
    )
    message = {"role": "assistant", "content": " ".join(answer)}
    return {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }


meter = Metering.from_file(Path(__file__).with_name("plan.toml"))
app.add_middleware(meter.wrap)
