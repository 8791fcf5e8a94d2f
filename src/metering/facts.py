"""What a request asks for, in terms that every wire dialect shares."""

import msgspec

__all__ = ["OutputBound", "ReasoningBudget", "RequestFacts", "SentAudio"]

_AUDIO_BYTES_PER_MS = 8  # 64 kbit/s, usual for compressed speech; for estimates only


class OutputBound(msgspec.Struct, frozen=True, gc=False):
    """One member of a request that bounds its output.

    Attributes:
        field: Name of the top-level member, as on the wire.
        tokens: What it allows; None where every server takes the value for "no bound"
            (null, negative, infinite, absurdly large).
    """

    field: str
    tokens: int | None


class ReasoningBudget(msgspec.Struct, frozen=True, gc=False):
    """What a request sets aside for reasoning, out of its output.

    Attributes:
        field: Name of the top-level member that says so, such as `thinking`.
        name: Name of the count within that member, such as `budget_tokens`; empty
            where the member is the count.
        tokens: The count.
        tokens_min: The least that servers accept.
        off: The member's JSON where there is to be no reasoning; empty where a count
            of 0 says so.
    """

    field: str
    name: str
    tokens: int
    tokens_min: int = 0
    off: bytes = b""


class SentAudio(msgspec.Struct, frozen=True, gc=False):
    """Audio that a request has the model listen to.

    Attributes:
        size_bytes: Its bytes; None where it is not sent itself, such as one by URL.
        exact_ms: Its length as its own header tells; None where none does.
    """

    size_bytes: int | None = None
    exact_ms: int | None = None

    @property
    def about_ms(self) -> int | None:
        """About how long it is; None where nothing is known of it."""
        if self.exact_ms is not None or self.size_bytes is None:
            return self.exact_ms
        return self.size_bytes // _AUDIO_BYTES_PER_MS


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the pieces must know of a request before it is admitted.

    Attributes:
        model: The model asked for, as the client wrote it.
        generates: Whether the model writes tokens at all (embeddings do not).
        output_bounds: The bounds present in the request.
        output_floors: Members that ask for at least so many tokens, such as
            `min_tokens`: lowered with the bound, for servers refuse one above it.
        output_field: Name of the bound to write where none is present; empty where
            one is present that is no number: the app's own refusal must stay.
        reasoning: What of the output is for reasoning, where servers refuse a request
            whose bound leaves no more than that.
        output_default: What an absent bound means on the wire; None: as much as fits.
        outputs: How many outputs are written: choices, beams, times prompts.
        input_bytes: UTF-8 bytes of everything the model reads; with `template_tokens`
            an upper bound of the input tokens of any byte-level tokenizer.
        template_tokens: Tokens a chat template may add to the text.
        input_unbounded: Input that the bytes do not bound, such as an image by URL.
        output_unbounded: Whether tokens are written that no member of the request
            bounds, such as those of a transcript or an image. `generates` is false.
        audio: Audio that the model listens to; None where there is none.
        images: How many images the model is to make.
        streams: Whether the client asked for a stream.
        usage_asked: Whether the client asked for usage in that stream.
        unmetered: The member that makes the request run where nothing here meters it,
            such as `background`; empty where there is none.
    """

    model: str
    generates: bool = True
    output_bounds: tuple[OutputBound, ...] = ()
    output_floors: tuple[OutputBound, ...] = ()
    output_field: str = ""
    reasoning: ReasoningBudget | None = None
    output_default: int | None = None
    outputs: int = 1
    input_bytes: int = 0
    template_tokens: int = 0
    input_unbounded: bool = False
    output_unbounded: bool = False
    audio: SentAudio | None = None
    images: int = 0
    streams: bool = False
    usage_asked: bool = False
    unmetered: str = ""

    @property
    def input_tokens_max(self) -> int:
        """Upper bound of the tokens that the model reads."""
        return self.input_bytes + self.template_tokens
