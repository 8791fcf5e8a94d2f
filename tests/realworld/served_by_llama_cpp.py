"""The server of llama-cpp-python, with a GGUF of random weights made on the spot."""

import gguf
import numpy as np
import pytest
from llama_cpp.server.app import create_app
from llama_cpp.server.settings import ModelSettings, ServerSettings

MODEL = "tiny"
CONTEXT, WIDTH, INNER, HEADS = 4096, 32, 64, 4
CONTROLS = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{value:02X}>" for value in range(256)]
WORDS = [f"\u2581w{number}" for number in range(61)]
CHAT = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "w1 w2 w3"}],
    "temperature": 0,
}
PROMPT = {"model": MODEL, "prompt": "w1 w2 w3", "temperature": 0}


def write_gguf(path):
    """Write a Llama of one layer that only ever says words, and never stops."""
    chance = np.random.default_rng(7)

    def noise(*shape):
        return chance.standard_normal(shape).astype(np.float32)

    tokens = CONTROLS + BYTES + WORDS
    said = noise(len(tokens), WIDTH)
    said[: -len(WORDS)] = 0
    ones = np.ones(WIDTH, np.float32)
    tensors = {
        "token_embd": noise(len(tokens), WIDTH),
        "output_norm": ones,
        "output": said,
        "blk.0.attn_norm": ones,
        "blk.0.ffn_norm": ones,
        "blk.0.ffn_gate": noise(INNER, WIDTH),
        "blk.0.ffn_up": noise(INNER, WIDTH),
        "blk.0.ffn_down": noise(WIDTH, INNER),
    }
    for name in ("q", "k", "v", "output"):
        tensors[f"blk.0.attn_{name}"] = noise(WIDTH, WIDTH)
    kinds = [gguf.TokenType.CONTROL] * len(CONTROLS)
    kinds += [gguf.TokenType.BYTE] * len(BYTES) + [gguf.TokenType.NORMAL] * len(WORDS)

    file = gguf.GGUFWriter(path, "llama")
    file.add_context_length(CONTEXT)
    file.add_embedding_length(WIDTH)
    file.add_feed_forward_length(INNER)
    file.add_block_count(1)
    file.add_head_count(HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_tokenizer_model("llama")
    file.add_token_list(tokens)
    file.add_token_scores([0.0] * len(tokens))
    file.add_token_types(kinds)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    file.add_chat_template("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    for name, tensor in tensors.items():
        file.add_tensor(f"{name}.weight", tensor)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


@pytest.fixture(scope="module")
def more_of_plan():
    """Return the route that says which bound this server obeys."""
    return """
    [[routes]]
    path = "/v1/chat/completions"
    dialect = "openai.chat.max_tokens"
    """


@pytest.fixture(scope="module")
def tiny_server(tmp_path_factory):
    """Return the server's own app, and the name of its model."""
    path = str(tmp_path_factory.mktemp("model") / "tiny.gguf")
    write_gguf(path)
    model = ModelSettings(model=path, model_alias=MODEL, n_ctx=CONTEXT, verbose=False)
    app = create_app(server_settings=ServerSettings(), model_settings=[model])
    return app, MODEL


def chat(client, **more):
    return client.chat.completions.create(**CHAT, **more)


def completion(client, **more):
    return client.completions.create(**PROMPT, **more)


def said(chunk):
    """Return the text of a chunk of a stream."""
    choice = chunk.choices[0]
    return (choice.delta.content if hasattr(choice, "delta") else choice.text) or ""


asked = pytest.mark.parametrize("ask", [chat, completion])


@asked
def test_a_plain_answer(server, account, alike, price_p, ask):
    """The same; its usage is the server's own, and priced exactly."""
    answer = ask(server.customer(account), max_tokens=6)
    event = server.event(account)

    usage = answer.usage
    assert alike(ask(server.bare, max_tokens=6)) == alike(answer)
    assert 6 == usage.completion_tokens == event.usage.output_tokens
    assert usage.prompt_tokens == event.usage.input_tokens
    assert ("completed", "upstream") == (event.ending, event.usage_source)
    assert price_p(usage.prompt_tokens, 6) == event.charge_p


@asked
def test_a_stream(server, account, alike, price_p, ask):
    """The same; this server tells no usage of a stream, so what it wrote is counted."""
    told = list(ask(server.bare, max_tokens=6, stream=True))
    chunks = list(ask(server.customer(account), max_tokens=6, stream=True))
    event = server.event(account)

    assert [alike(chunk) for chunk in told] == [alike(chunk) for chunk in chunks]
    assert 6 == len("".join(map(said, chunks)).split())
    assert ("completed", "estimated") == (event.ending, event.usage_source)
    assert 6 == event.usage.output_tokens
    assert price_p(event.usage.input_tokens, 6) == event.charge_p


@asked
@pytest.mark.parametrize("bound", [{}, {"max_tokens": 1000}], ids=["none", "1000"])
def test_the_cap_is_obeyed(server, account, price_p, ask, bound):
    """Eight tokens and no more, also where the client named no bound at all."""
    answer = ask(server.customer(account, output_tokens_max=8), **bound)
    event = server.event(account)

    assert 8 == answer.usage.completion_tokens == event.usage.output_tokens
    assert "length" == answer.choices[0].finish_reason
    assert price_p(answer.usage.prompt_tokens, 8) == event.charge_p


@asked
def test_the_cap_is_obeyed_by_a_stream(server, account, ask):
    """Eight chunks have text."""
    customer = server.customer(account, output_tokens_max=8)
    chunks = list(ask(customer, max_tokens=1000, stream=True))

    assert 8 == sum(bool(said(chunk)) for chunk in chunks)
    assert 8 == server.event(account).usage.output_tokens


@pytest.mark.parametrize(("asked", "written"), [(1000, 8), (5, 5)])
def test_a_bound_that_this_server_does_not_know(
    server, account, price_p, asked, written
):
    """It passes over `max_completion_tokens`, so the same is said in `max_tokens`."""
    customer = server.customer(account, output_tokens_max=8)
    answer = chat(customer, max_completion_tokens=asked)
    event = server.event(account)

    assert written == answer.usage.completion_tokens == event.usage.output_tokens
    assert price_p(answer.usage.prompt_tokens, written) == event.charge_p


def test_who_leaves_pays_for_what_was_written(server, account):
    """Long before the context is full."""
    with chat(server.customer(account), stream=True) as stream:
        seen = [said(chunk) for chunk, _ in zip(stream, range(5), strict=False)]
    event = server.event(account)

    assert ("client_gone", "estimated") == (event.ending, event.usage_source)
    assert sum(map(bool, seen)) <= event.usage.output_tokens < CONTEXT // 2
