"""Forms are read as every server reads them, or not at all."""

import struct
from collections.abc import AsyncGenerator

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from metering.dialects.form import Form, FormFile, UnreadableFormError, read_form
from metering.dialects.wav import wav_ms

TYPE = b"multipart/form-data; boundary=b"
NAMED = b'content-disposition: form-data; name="%b"'


def body(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    """Return a form of parts, each its headers, a blank line and its content."""
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


def text(name: bytes, content: bytes) -> bytes:
    """Return a part that is a text."""
    return NAMED % name + b"\r\n\r\n" + content


MODEL = text(b"model", b"acme")
FILE = NAMED % b"file" + b'; filename="a.mp3"\r\ncontent-type: audio/mpeg\r\n\r\nabc'


def test_texts_and_files_are_told_apart():
    """Of a file only its size is known; order does not matter."""
    form = read_form(TYPE, body(FILE, MODEL, text(b"n", b"2")))

    assert Form({"model": "acme", "n": "2"}, {"file": (FormFile(3, None),)}) == form


@given(
    st.dictionaries(st.sampled_from(["model", "prompt", "n"]), st.text()),
    st.lists(st.binary(max_size=60), max_size=3),
)
@settings(max_examples=60)
def test_what_a_usual_client_sends_is_read(fields, files):
    """Any text and any bytes, those of a boundary of another form among them."""
    sent = [("image[]", ("a b.png", content)) for content in files] or [
        ("file", ("a.wav", b"x"))
    ]
    request = httpx.Request("POST", "http://t", data=fields, files=sent)
    form = read_form(request.headers["content-type"].encode(), request.read())

    assert fields == form.fields
    assert sorted(map(len, files or [b"x"])) == sorted(
        file.size_bytes for (its,) in [form.files.values()] for file in its
    )


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(body(MODEL, MODEL), id="the model twice"),
        pytest.param(
            body(MODEL, NAMED % b"model" + b"; filename=x\r\n\r\n"), id="both"
        ),
        pytest.param(
            body(NAMED % b"model" + b"; filename=x\r\n\r\n", MODEL), id="both"
        ),
        pytest.param(b"preamble\r\n" + body(MODEL), id="a preamble"),
        pytest.param(body(MODEL) + body(MODEL), id="another form after its end"),
        pytest.param(body(MODEL, end=b""), id="no end"),
        pytest.param(body(MODEL, end=b"--b"), id="half an end"),
        pytest.param(body(MODEL).replace(b"\r\n", b"\n"), id="lines ended by LF"),
        pytest.param(body(MODEL, b"no blank line"), id="a part without headers"),
        pytest.param(body(NAMED % b"x" + b"\r\n folded: y\r\n\r\n"), id="folded"),
        pytest.param(body(NAMED % b"x" + b"\r\n\tmore\r\n\r\n"), id="folded by a tab"),
        pytest.param(body(NAMED % b"x" + b"\x0b\r\n\r\n"), id="a control character"),
        pytest.param(body(NAMED % b"x" + b";\n filename=y\r\n\r\n"), id="a lone LF"),
        pytest.param(body(b"\r\n\r\nacme"), id="no name"),
        pytest.param(body(text(b"", b"acme")), id="an empty name"),
        pytest.param(body(text(b'mo\\"del', b"acme")), id="an escaped name"),
        pytest.param(
            body(NAMED % b"n" + b"; name*=utf-8''model\r\n\r\nacme"), id="two names"
        ),
        pytest.param(
            body(NAMED % b"n" + b'; name="model"\r\n\r\nacme'), id="two names again"
        ),
        pytest.param(
            body(
                NAMED % b"n" + b'\r\nContent-Disposition: form-data; name="m"\r\n\r\n'
            ),
            id="two dispositions",
        ),
        pytest.param(
            body(
                NAMED % b"model" + b"\r\ncontent-transfer-encoding: base64\r\n\r\nYQ=="
            ),
            id="encoded once more",
        ),
        pytest.param(
            body(
                NAMED % b"model"
                + b"\r\ncontent-type: text/plain; charset=utf-7\r\n\r\n"
            ),
            id="in another charset",
        ),
        pytest.param(body(text(b"model", b"\xff")), id="no UTF-8"),
        pytest.param(body(MODEL).replace(b"--b\r\n", b"--b \r\n", 1), id="padded"),
        pytest.param(body(*[text(b"a[]", b"")] * 129), id="too many parts"),
        pytest.param(
            body(b"x: " + b"y" * 9000 + b"\r\n" + MODEL), id="endless headers"
        ),
        pytest.param(
            body(FILE + b"\n--b\n" + text(b"model", b"dear"), MODEL),
            id="a boundary after LF",
        ),
        pytest.param(body(FILE + b"\r--b\r", MODEL), id="a boundary after CR"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"--b", id="less than a boundary"),
    ],
)
def test_what_servers_may_read_differently_is_not_read(sent):
    """None of it may be taken for a form with another model than the app sees."""
    with pytest.raises(UnreadableFormError):
        read_form(TYPE, sent)


@pytest.mark.parametrize(
    "kind",
    [
        b"",
        b"application/json",
        b"multipart/mixed; boundary=b",
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=a; boundary=b",
        b"multipart/form-data; boundary=b; charset=utf-7",
        b"multipart/form-data; boundary=" + b"b" * 71,
        b'multipart/form-data; boundary="a\\b"',
    ],
)
def test_a_header_that_tells_no_one_boundary_is_not_taken(kind):
    """The body alone does not tell where its parts end."""
    with pytest.raises(UnreadableFormError):
        read_form(kind, body(MODEL))


@pytest.mark.parametrize(
    "kind",
    [
        TYPE,
        b'Multipart/Form-Data;boundary="b"',
        b"multipart/form-data; charset=UTF-8; boundary=b;",
    ],
)
def test_usual_spellings_of_the_header_are_taken(kind):
    """Quoted, without a space, in capitals."""
    assert {"model": "acme"} == read_form(kind, body(MODEL)).fields


SENT = body(MODEL, text(b"n", b"2"), FILE)
ODD = st.sampled_from(
    [
        *b'\r\n|\n|\r|--b|--b--|"|;|; | |\t|:|=|\\|\0|\xff|\v|,|%22'.split(b"|"),
        *b'name=|filename=|name*=|name="model"|form-data'.split(b"|"),
        b"\r\n\r\n",
        b"\r\n--b\r\n",
        b"\r\n--b\r\n" + text(b"model", b"dear"),
        NAMED % b"model" + b"\r\n",
    ]
)
EDIT = st.tuples(st.integers(0, len(SENT)), st.integers(0, 6), ODD | st.just(b""))


async def read_by_starlette(sent: bytes) -> dict[str, list[str | int | None]] | None:
    """Return what most of the apps see: texts, and sizes of files; None: refused."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield sent

    headers = Headers(raw=[(b"content-type", TYPE)])
    try:
        form = await MultiPartParser(headers, chunks()).parse()
    except MultiPartException:
        return None
    found: dict[str, list[str | int | None]] = {}
    for name, value in form.multi_items():
        seen = value.size if isinstance(value, UploadFile) else value
        found.setdefault(name, []).append(seen)
    await form.close()
    return found


@given(st.lists(EDIT, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_what_is_read_is_what_starlette_reads(edits):
    """Whatever is put in or left out: the same, or not at all by one of the two."""
    sent = SENT
    for at, size, odd in edits:
        sent = sent[:at] + odd + sent[at + size :]
    try:
        form = read_form(TYPE, sent)
    except UnreadableFormError:
        return
    seen = anyio.run(read_by_starlette, sent)
    files = {name: [f.size_bytes for f in its] for name, its in form.files.items()}
    texts = {name: [value] for name, value in form.fields.items()}

    assert seen in (None, texts | files)


def wav(
    samples: bytes,
    *,
    coding: int = 1,
    channels: int = 1,
    rate: int = 8_000,
    bits: int = 16,
    size: int | None = None,
    before: bytes = b"",
) -> bytes:
    """Return a WAV file."""
    layout = struct.pack("<HHIIHH", coding, channels, rate, 0, 0, bits)
    size = len(samples) if size is None else size
    head = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", len(layout)) + layout
    return head + before + b"data" + struct.pack("<I", size) + samples


@pytest.mark.parametrize(
    ("file", "ms"),
    [
        (wav(bytes(16_000)), 1_000),
        (wav(bytes(16_000), channels=2, bits=8), 1_000),
        (wav(bytes(12), rate=16_000), 0),  # 0.375 ms
        (wav(bytes(16), rate=16_000), 1),  # 0.5 ms
        (wav(bytes(16_000), before=b"LIST\x03\0\0\0abc\0"), 1_000),
        (wav(bytes(16_000), coding=0xFFFE), 1_000),
        (wav(bytes(16_000), size=2**32 - 1), 1_000),
        (wav(bytes(16_000), size=8_000), 500),
        (wav(b""), 0),
        (wav(bytes(9), coding=2), None),  # compressed
        (wav(bytes(9), bits=4), None),
        (wav(bytes(9), rate=0), None),
        (wav(bytes(9), channels=0), None),
        (wav(bytes(16_000))[:40], None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"ID3\x04 an MP3", None),
        (b"", None),
    ],
)
def test_the_length_of_a_wav_file_is_that_of_its_samples(file, ms):
    """Whatever its header promises; of what is compressed nothing is known."""
    assert ms == wav_ms(memoryview(file))


@given(st.binary(max_size=80))
@settings(max_examples=60)
def test_no_file_is_too_odd(content):
    """Any bytes have a length or none."""
    for file in (content, b"RIFF\0\0\0\0WAVE" + content):
        assert (wav_ms(memoryview(file)) or 0) >= 0
