"""A compressed event stream, read for its usage as it passes."""

from metering.asgi.codings import UndecodableError, open_decoder
from metering.dialects.dialect import Report, StreamReader

__all__ = ["CompressedReader", "open_reader"]


class CompressedReader:
    """Follows a compressed stream, in bounded memory.

    Its bytes pass as they are. Where usage must be taken out, what passes is decoded,
    so that the answer must no longer say that it is compressed.

    Args:
        reader: Follows what is decoded.
        coding: What the stream is compressed with.
        take_out_usage: Whether the reader takes something out.

    Raises:
        UndecodableError: Nothing here decodes *coding*.
    """

    __slots__ = ("_decoder", "_failed", "_reader", "_seen", "_take_out_usage")

    def __init__(
        self, reader: StreamReader, coding: bytes, *, take_out_usage: bool
    ) -> None:
        self._reader = reader
        self._take_out_usage = take_out_usage
        self._failed = False
        self._seen: list[bytes] = []  # what one chunk becomes, where it is decoded
        sink = self._see if take_out_usage else reader.feed
        decoder = open_decoder(coding, sink)
        if decoder is None:
            raise UndecodableError
        self._decoder = decoder

    @property
    def ended(self) -> bool:
        """Whether the dialect's end mark has been seen."""
        return self._reader.ended

    def feed(self, chunk: bytes) -> bytes:
        """Take the next body chunk and return the bytes to forward for it.

        Raises:
            UndecodableError: It cannot be decoded, and would have to be.
        """
        if not self._failed:
            try:
                self._decoder.feed(chunk)
            except UndecodableError:
                self._failed = True
        if not self._take_out_usage:
            return chunk
        if self._failed:
            # The client was told of a plain stream. It sees this one break off, as it
            # would have seen it fail to be decoded.
            raise UndecodableError("The app's stream is not of its content-encoding.")
        seen = b"".join(self._seen)
        self._seen.clear()
        return seen

    def finish(self) -> bytes:
        """Return what was held back. Call it once, when the body has ended."""
        return self._reader.finish()

    def report(self) -> Report:
        """Return what the stream told, as far as it could be read."""
        report = self._reader.report()
        if self._failed and report.usage is not None:
            return report._replace(partial=True)
        return report

    def _see(self, piece: bytes) -> None:
        seen = self._reader.feed(piece)
        if seen:
            self._seen.append(seen)


def open_reader(
    reader: StreamReader, coding: bytes, *, take_out_usage: bool
) -> StreamReader | None:
    """Return what follows a stream of that coding, b"" for none; None if nothing can.

    Args:
        reader: Follows the stream as the dialect has it.
        coding: What it is compressed with.
        take_out_usage: Whether the reader takes something out.
    """
    if not coding:
        return reader
    try:
        return CompressedReader(reader, coding, take_out_usage=take_out_usage)
    except UndecodableError:
        return None
