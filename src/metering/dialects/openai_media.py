"""What OpenAI's dialects of audio and images share: forms, no bound of the output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from metering.dialects.dialect import Members, Report, StreamReader
from metering.dialects.figures import UNREADABLE
from metering.dialects.form import Form, FormFile
from metering.dialects.media_stream import MediaWatcher
from metering.dialects.media_usage import MediaAnswer, read_answer, report_of
from metering.dialects.openai_dialect import OpenAIDialect
from metering.dialects.openai_input import MEDIA_TOKENS, estimate_input

__all__ = ["OpenAIMediaDialect", "files_of"]

_files: Final = msgspec.json.Decoder(tuple[FormFile, ...])
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class OpenAIMediaDialect(OpenAIDialect):
    """A dialect whose requests may be forms, and whose answers may be no JSON at all.

    Attributes:
        listens: Whether the model listens to audio.
        tells: Returns what a whole answer tells.
    """

    listens: bool = False
    tells: Callable[[MediaAnswer], Report] = report_of

    def members_of(self, form: Form) -> Members:
        """Return a form as members: texts as strings, files as their sizes."""
        texts = {name: msgspec.Raw(_encode(t)) for name, t in form.fields.items()}
        files = {name: msgspec.Raw(_encode(f)) for name, f in form.files.items()}
        return texts | files

    def estimate_input(self, members: Members) -> int:
        """Return about how many tokens the model reads, for want of a usage."""
        files = sum(len(files_of(members, name)) for name in members)
        return files * MEDIA_TOKENS + estimate_input(members)

    def ask_usage(self, members: Members) -> dict[str, bytes]:  # noqa: ARG002 - streams tell it unasked, or a form would have to be written anew
        """Return nothing to write."""
        return {}

    def read_response(self, body: bytes) -> Report:
        """Return what a whole JSON answer told."""
        answer = read_answer(body)
        return Report() if answer is None else self.tells(answer)

    def read_stream(self, *, take_out_usage: bool) -> StreamReader:  # noqa: ARG002 - never asked for
        """Return a reader for a streamed response."""
        return MediaWatcher(listens=self.listens)


def files_of(members: Members, name: str) -> tuple[FormFile, ...]:
    """Return the files that a form has under a name; none where it has a text there."""
    raw = members.get(name)
    if raw is None or bytes(memoryview(raw)[:2]) != b"[[":
        return ()
    try:
        return _files.decode(raw)
    except UNREADABLE:
        return ()
