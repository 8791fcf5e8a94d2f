"""How long a WAV file is, from its header alone."""

import struct

__all__ = ["wav_ms"]

_KINDS = frozenset({b"RIFF", b"RF64"})
_CHUNKS_MAX = 64
_PLAIN = frozenset({1, 3, 6, 7, 0xFFFE})  # PCM, float, A-law, mu-law, extensible
_RATE_MAX = 2**20
_MS_PER_S = 1000


def wav_ms(content: memoryview) -> int | None:
    """Return the length of the audio in milliseconds, rounded half up.

    Args:
        content: A whole file.

    Returns:
        None if it is no WAV file, or one whose samples are compressed. A header that
        promises more than the file holds is not believed.
    """
    if bytes(content[:4]) not in _KINDS or bytes(content[8:12]) != b"WAVE":
        return None
    frame_bits = rate = 0
    at = 12
    for _ in range(_CHUNKS_MAX):
        if at + 8 > len(content):
            return None
        kind, size = struct.unpack_from("<4sI", content, at)
        at += 8
        if kind == b"data":
            return _data_ms(min(size, len(content) - at), frame_bits, rate)
        if kind == b"fmt " and at + 16 <= len(content):
            coding, channels, rate, _, _, bits = struct.unpack_from(
                "<HHIIHH", content, at
            )
            frame_bits = channels * bits if coding in _PLAIN else 0
        at += size + size % 2
    return None


def _data_ms(size: int, frame_bits: int, rate: int) -> int | None:
    frame_bytes = frame_bits // 8
    if not frame_bytes or frame_bits % 8 or not 0 < rate <= _RATE_MAX:
        return None
    return (2 * (size // frame_bytes) * _MS_PER_S + rate) // (2 * rate)
