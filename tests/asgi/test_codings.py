"""Decoders give back what was compressed, however it is cut, and stop a bomb early."""

import gzip
import random
import sys
import tracemalloc
import zlib
from types import SimpleNamespace

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.asgi.codings import (
    TooLongError,
    UndecodableError,
    coding_named,
    decoded_within,
    open_decoder,
)

KIB = 1024


def _bare_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK = {
    "gzip": gzip.compress,
    "gzip in members": lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]),
    "gzip, padded": lambda data: gzip.compress(data) + bytes(512),
    "deflate": zlib.compress,
    "deflate, bare": _bare_deflate,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "zstd in frames": lambda data: (
        zstandard.compress(data[:99]) + zstandard.compress(data[99:])
    ),
}
packed = pytest.mark.parametrize("how", PACK)
codings = pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])


def _coding(how):
    return how.replace(",", " ").split()[0].encode()


def _decoded(how, data, cuts=()):
    pieces = []
    decoder = open_decoder(_coding(how), pieces.append)
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        decoder.feed(data[start:end])
    return b"".join(pieces)


@packed
def test_each_cut_gives_the_same(how):
    """300 bytes, in two parts cut at every offset, and byte by byte."""
    text = b"".join(b"word %d, " % at for at in range(30))
    data = PACK[how](text)

    assert all(text == _decoded(how, data, (cut,)) for cut in range(len(data)))
    assert text == _decoded(how, data, range(1, len(data)))


@packed
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), size=st.integers(0, 600 * KIB), data=st.data())
def test_any_length_gives_the_same(how, seed, size, data):
    """Also where the length is that of a piece or of a slice, and nothing repeats."""
    rand = random.Random(seed)  # noqa: S311 - it keeps no secret
    text = rand.randbytes(size) if seed % 2 else b"ab" * (size // 2)
    body = PACK[how](text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=4)))

    assert text == _decoded(how, body, cuts)


@packed
@pytest.mark.parametrize("size", [16 * KIB, 32 * KIB, 128 * KIB, 1024 * KIB])
def test_whole_pieces_lose_nothing(how, size):
    """The last piece is full just as the input ends."""
    assert size == len(_decoded(how, PACK[how](b"x" * size)))


@codings
def test_a_bomb_stops_at_the_bound(coding):
    """100 MB in some kB, one of which is decoded: little more is ever in memory."""
    bomb = PACK[coding](bytes(100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(TooLongError):
            decoded_within(coding.encode(), bomb, KIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 512 * KIB


@codings
@pytest.mark.parametrize("over", [0, 1])
def test_the_bound_itself_passes(coding, over):
    """1,000 bytes are decoded within 1,000, and not within 999."""
    body = PACK[coding](b"x" * 1000)
    if over:
        with pytest.raises(TooLongError):
            decoded_within(coding.encode(), body, 1000 - over)
    else:
        assert b"x" * 1000 == decoded_within(coding.encode(), body, 1000)


@codings
@pytest.mark.parametrize(
    "body", [b'{"model": "m"}', b"\xff" * 40, b"\x00\x01\x02\x03" * 9]
)
def test_what_is_not_of_the_coding_is_an_error(coding, body):
    """Never a crash, and never taken for something."""
    with pytest.raises(UndecodableError):
        decoded_within(coding.encode(), body, KIB)


@codings
def test_what_comes_after_the_end_is_an_error(coding):
    """Nothing can be hidden behind the end of a body."""
    body = PACK[coding](b"abc") + b"something else"
    with pytest.raises(UndecodableError):
        decoded_within(coding.encode(), body, KIB)


def test_a_window_beyond_8_mib_is_not_opened():
    """What a frame of zstd asks for is memory that an app's client would choose."""
    settings_ = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    packer = zstandard.ZstdCompressor(compression_params=settings_).compressobj()
    body = packer.compress(b"abc") + packer.flush()
    with pytest.raises(UndecodableError):
        decoded_within(b"zstd", body, KIB)


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_without_its_package_a_coding_is_not_decoded(monkeypatch, coding):
    """None says so, and the standard library's still are."""
    package = {"br": "brotli", "zstd": "zstandard"}[coding]
    monkeypatch.setitem(sys.modules, package, None)

    assert open_decoder(coding.encode(), len) is None
    assert open_decoder(b"gzip", len) is not None


def test_a_brotli_that_cannot_be_bounded_is_not_used(monkeypatch):
    """Before 1.2 it decodes whatever it is given at once."""
    old = SimpleNamespace(Decompressor=object, error=Exception)
    monkeypatch.setitem(sys.modules, "brotli", old)

    assert open_decoder(b"br", len) is None


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        ([], b""),
        ([b""], b""),
        ([b"identity", b"Identity"], b""),
        ([b"GZip"], b"gzip"),
        ([b"identity, gzip "], b"gzip"),
        ([b"gzip, br"], b"gzip, br"),
        ([b"gzip", b"br"], b"gzip, br"),
    ],
)
def test_codings_are_named_without_regard_to_case(values, coding):
    assert coding == coding_named(values)
