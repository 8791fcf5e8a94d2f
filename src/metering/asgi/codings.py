"""Content codings: what comes compressed, decoded piece by piece, within a bound.

Decoders push what they decode to a sink, in pieces: however small a bomb is, no more
than one piece of it is ever there before the sink may say that it is enough.
"""

import zlib
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Final, Protocol

__all__ = [
    "CODINGS_BUILT_IN",
    "Decoder",
    "TooLongError",
    "UndecodableError",
    "coding_named",
    "decoded_within",
    "open_decoder",
]

Sink = Callable[[bytes], object]
"""Takes the next decoded piece. What it raises stops the decoding."""

CODINGS_BUILT_IN: Final = b"gzip, deflate"
"""What is always decoded, as `accept-encoding` says it."""

PIECE_BYTES_MAX: Final = 16 * 1024
"""Of what zlib decodes; brotli's pieces are twice, zstd's eight times as long."""

_SLICE_BYTES: Final = 16 * 1024  # what a decoder leaves of its input, it copies
_WINDOW_BYTES_MAX: Final = 8 * 1024 * 1024  # what RFC 8878 asks decoders of zstd for
_GZIP: Final = 31
_ZLIB: Final = 15
_RAW_DEFLATE: Final = -15
_DEFLATE_METHOD: Final = 8


class UndecodableError(Exception):
    """The bytes are not of the coding that they are said to be of."""


class TooLongError(Exception):
    """More was decoded than may be."""


class Decoder(Protocol):
    """Decodes one body."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, and push all that they tell to the sink.

        Raises:
            UndecodableError: They cannot be decoded. Nothing can be after that.
        """
        ...


def coding_named(values: Iterable[bytes]) -> bytes:
    """Return the coding that headers name, in lower case; b"" for none.

    Args:
        values: The values of `content-encoding`. Several codings, one in another, are
            returned with their commas, and nothing here decodes them.
    """
    names = [name.strip().lower() for value in values for name in value.split(b",")]
    return b", ".join(name for name in names if name not in {b"", b"identity"})


def open_decoder(coding: bytes, sink: Sink) -> Decoder | None:
    """Return a decoder, or None where nothing here decodes *coding*.

    Those of `br` and `zstd` take the packages brotli and zstandard.
    """
    kind = _DECODERS.get(coding)
    try:
        return None if kind is None else kind(sink)
    except ImportError:
        return None


def decoded_within(coding: bytes, data: bytes, bytes_max: int) -> bytes:
    """Return a whole body, decoded.

    Raises:
        TooLongError: It is longer than *bytes_max*; little more was decoded.
        UndecodableError: It is not of that coding, or nothing here decodes that.
    """
    pieces: list[bytes] = []
    size = 0

    def keep(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size > bytes_max:
            raise TooLongError
        pieces.append(piece)

    decoder = open_decoder(coding, keep)
    if decoder is None:
        raise UndecodableError
    decoder.feed(data)
    return b"".join(pieces)


class _Inflater:
    """Decodes gzip, in any number of members, and deflate with or without zlib's head.

    By the letter deflate has that head, but some send it bare.
    """

    def __init__(self, sink: Sink, *, gzip: bool) -> None:
        self._sink = sink
        self._gzip = gzip
        self._inflate: Any = zlib.decompressobj(_GZIP) if gzip else None

    def feed(self, data: bytes) -> None:
        for part in _slices(data):
            self._feed(part)

    def _feed(self, part: bytes) -> None:
        if self._inflate is None:
            headed = part[0] & 0x0F == _DEFLATE_METHOD
            self._inflate = zlib.decompressobj(_ZLIB if headed else _RAW_DEFLATE)
        piece = b""
        while part or len(piece) == PIECE_BYTES_MAX:
            if self._inflate.eof:
                part = part.lstrip(b"\0") if self._gzip else part  # padding is allowed
                if not part:
                    return
                if not self._gzip:
                    raise UndecodableError
                self._inflate = zlib.decompressobj(_GZIP)
            try:
                piece = self._inflate.decompress(part, PIECE_BYTES_MAX)
            except zlib.error as error:
                raise UndecodableError from error
            if piece:
                self._sink(piece)
            ended = self._inflate.eof
            part = self._inflate.unused_data if ended else self._inflate.unconsumed_tail


class _Brotli:
    def __init__(self, sink: Sink) -> None:
        brotli: Any = import_module("brotli")
        if not hasattr(brotli.Decompressor, "can_accept_more_data"):
            raise ImportError("brotli before 1.2 cannot stop a bomb")
        self._sink = sink
        self._error: type[Exception] = brotli.error
        self._brotli = brotli.Decompressor()

    def feed(self, data: bytes) -> None:
        for part in _slices(data):
            piece = self._decode(part)
            while piece or not self._brotli.can_accept_more_data():
                if piece:
                    self._sink(piece)
                if self._brotli.is_finished():
                    break
                piece = self._decode(b"")

    def _decode(self, part: bytes) -> bytes:
        try:
            piece: bytes = self._brotli.process(
                part, output_buffer_limit=PIECE_BYTES_MAX
            )
        except self._error as error:
            raise UndecodableError from error
        return piece


class _Zstd:
    def __init__(self, sink: Sink) -> None:
        zstandard: Any = import_module("zstandard")
        decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
        self._error: type[Exception] = zstandard.ZstdError
        self._writer = decoder.stream_writer(_Pushed(sink))

    def feed(self, data: bytes) -> None:
        try:
            for part in _slices(data):
                self._writer.write(part)
        except self._error as error:
            raise UndecodableError from error


class _Pushed:
    """A sink as a file, which is what zstandard writes to."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, piece: bytes) -> int:
        self._sink(piece)
        return len(piece)


def _slices(data: bytes) -> Iterable[bytes]:
    if len(data) <= _SLICE_BYTES:
        return (data,) if data else ()
    return (data[at : at + _SLICE_BYTES] for at in range(0, len(data), _SLICE_BYTES))


_DECODERS: Final[dict[bytes, Callable[[Sink], Decoder]]] = {
    b"gzip": lambda sink: _Inflater(sink, gzip=True),
    b"x-gzip": lambda sink: _Inflater(sink, gzip=True),
    b"deflate": lambda sink: _Inflater(sink, gzip=False),
    b"br": _Brotli,
    b"zstd": _Zstd,
}
