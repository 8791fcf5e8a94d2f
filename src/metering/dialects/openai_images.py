"""OpenAI's images: made, edited or varied, and counted."""

from typing import Final

from metering.dialects.dialect import Members
from metering.dialects.media_usage import report_of_images
from metering.dialects.openai_media import OpenAIMediaDialect
from metering.dialects.openai_members import choices_of, is_set, model_of
from metering.facts import RequestFacts

__all__ = ["OPENAI_IMAGES"]

_SEEN: Final = frozenset({"image", "image[]", "images", "mask", "markup"})
"""Members that name images for the model to look at."""


def _facts_of(members: Members) -> RequestFacts | None:
    model = model_of(members)
    if model is None:
        return None
    images = choices_of(members)
    return RequestFacts(
        model=model,
        generates=False,
        outputs=images,
        images=images,
        input_bytes=sum(map(len, members.values())),
        input_unbounded=not _SEEN.isdisjoint(members),
        output_unbounded=True,
        streams=is_set(members.get("stream")),
    )


OPENAI_IMAGES: Final = OpenAIMediaDialect(
    "openai.images",
    ("/v1/images/generations", "/v1/images/edits", "/v1/images/variations"),
    _facts_of,
    tells=report_of_images,
)
