"""What the colours of the pages promise to eyes that see less of them (WCAG 2.2 AA)."""

import re
from importlib.resources import files

import pytest

COLOURS = files("metering.console.pages") / "static" / "styles" / "colours.css"
DARK = "@media (prefers-color-scheme: dark)"
TEXT = [
    ("ink", "ground"),
    ("ink", "raised"),
    ("ink", "room"),
    ("ink", "accent-soft"),
    ("ink", "good-soft"),
    ("soft", "ground"),
    ("soft", "raised"),
    ("soft", "room"),
    ("accent", "ground"),
    ("accent", "raised"),
    ("accent", "accent-soft"),
    ("on-accent", "accent"),
    ("warn", "warn-soft"),
    ("good", "good-soft"),
    ("bad", "ground"),
    ("bad", "bad-soft"),
]
SHAPES = [
    ("line-strong", "ground"),
    ("accent", "room"),
    ("bad", "room"),
    ("s2", "room"),
    *((f"s{number}", "ground") for number in range(1, 7)),
]


def brightness(colour):
    """Return the relative luminance of a colour such as #4a41d9."""
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """Return how much two colours differ, 1 to 21."""
    dark, light = sorted((brightness(one), brightness(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_what_is_drawn_can_be_told_from_what_is_behind(scheme):
    parts = COLOURS.read_text(encoding="utf-8").split(DARK)
    written = parts[scheme == "dark"]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", written))

    for pairs, least in ((TEXT, 4.5), (SHAPES, 3)):
        for front, behind in pairs:
            found = contrast(colours[front], colours[behind])
            assert found >= least, (front, behind, found)
