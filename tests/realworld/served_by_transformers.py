"""`transformers serve`, with a Llama of random weights made on the spot."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.completion import CompletionHandler
from transformers.cli.serving.model_manager import ModelManager
from transformers.cli.serving.response import ResponseHandler
from transformers.cli.serving.server import build_server
from transformers.cli.serving.systemone import SystemOneHandler
from transformers.cli.serving.transcription import TranscriptionHandler
from transformers.cli.serving.utils import GenerationState

CONTROLS = ["<unk>", "<s>", "</s>"]
WORDS = [f"w{number}" for number in range(61)]
TEXT = "w1 w2 w3"
LONG = 8000


def write_model(path):
    """Write a Llama of one layer that only ever says words, and never stops."""
    vocabulary = {word: number for number, word in enumerate(CONTROLS + WORDS)}
    splitter = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    splitter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=splitter,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(path)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=16_384,
        initializer_range=1.0,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[: len(CONTROLS)] = 0
    model.save_pretrained(path)


@pytest.fixture(scope="module")
def tiny_server(tmp_path_factory):
    """Return the app that the command serves, and the name of its model."""
    path = str(tmp_path_factory.mktemp("tiny"))
    write_model(path)
    manager, state = ModelManager(device="cpu", force_model=path), GenerationState()
    app = build_server(
        manager,
        ChatCompletionHandler(manager, state),
        completion_handler=CompletionHandler(manager, state),
        response_handler=ResponseHandler(manager, state),
        transcription_handler=TranscriptionHandler(manager, state),
        systemone_handler=SystemOneHandler(manager, state),
        generation_state=state,
    )
    return app, path


def chat(server, client, bound=None, **more):
    """Ask for Chat Completions."""
    messages = [{"role": "user", "content": TEXT}]
    return client.chat.completions.create(
        model=server.model,
        messages=messages,
        temperature=0,
        **({} if bound is None else {"max_tokens": bound}),
        **more,
    )


def newer_chat(server, client, bound=None, **more):
    """Ask for Chat Completions, with the newer name of the bound."""
    named = {} if bound is None else {"max_completion_tokens": bound}
    return chat(server, client, **named, **more)


def completion(server, client, bound=None, **more):
    """Ask for Completions."""
    return client.completions.create(
        model=server.model,
        prompt=TEXT,
        temperature=0,
        **({} if bound is None else {"max_tokens": bound}),
        **more,
    )


def response(server, client, bound=None, *, stream=False):
    """Ask for Responses; this server streams them unless it is told not to."""
    return client.responses.create(
        model=server.model,
        input=TEXT,
        temperature=0,
        stream=stream,
        **({} if bound is None else {"max_output_tokens": bound}),
    )


def told(usage):
    """Return what was read and written, in either wording."""
    if hasattr(usage, "prompt_tokens"):
        return usage.prompt_tokens, usage.completion_tokens
    return usage.input_tokens, usage.output_tokens


asked = pytest.mark.parametrize("ask", [chat, newer_chat, completion, response])


@asked
def test_a_plain_answer(server, account, alike, price_p, ask):
    """The same; its usage is the server's own, and priced exactly."""
    answer = ask(server, server.customer(account), 20)
    event = server.event(account)

    assert alike(ask(server, server.bare, 20)) == alike(answer)
    assert (3, 20) == told(answer.usage)
    assert (3, 20) == (event.usage.input_tokens, event.usage.output_tokens)
    assert ("completed", "upstream") == (event.ending, event.usage_source)
    assert price_p(3, 20) == event.charge_p


@asked
def test_a_stream(server, account, alike, price_p, ask):
    """The same, with the usage in its last event; this server sends no end mark."""
    expected = [alike(e) for e in ask(server, server.bare, 20, stream=True)]
    events = list(ask(server, server.customer(account), 20, stream=True))
    event = server.event(account)

    last = events[-1]
    assert expected == [alike(event) for event in events]
    assert (3, 20) == told(getattr(last, "response", last).usage)
    assert (3, 20) == (event.usage.input_tokens, event.usage.output_tokens)
    assert ("completed", "upstream") == (event.ending, event.usage_source)
    assert price_p(3, 20) == event.charge_p


@asked
@pytest.mark.parametrize("bound", [None, 1000], ids=["none", "1000"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_the_cap_is_obeyed(server, account, price_p, ask, bound, stream):
    """Eight tokens and no more, also where the client named no bound at all."""
    customer = server.customer(account, output_tokens_max=8)
    answer = ask(server, customer, bound, stream=stream)
    if stream:
        *_, answer = answer
        answer = getattr(answer, "response", answer)
    event = server.event(account)

    assert (3, 8) == told(answer.usage)
    assert (8, price_p(3, 8)) == (event.usage.output_tokens, event.charge_p)


@pytest.mark.parametrize("ask", [chat, completion, response])
def test_who_leaves_pays_for_what_was_written(server, account, ask):
    """The middleware of this server ends the body all the same: it was left."""
    with ask(server, server.customer(account), LONG, stream=True) as stream:
        for _, _ in zip(stream, range(9), strict=False):
            pass
    event = server.event(account)

    assert ("client_gone", "estimated") == (event.ending, event.usage_source)
    assert 0 < event.usage.output_tokens < LONG
