"""How Sphinx makes the site: `make docs`."""

import re
from collections import namedtuple
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from metering import __version__

project = "metering"
project_copyright = "the metering authors, Apache-2.0"
version = release = __version__
html_title = f"metering {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["examples"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
smartquotes = False

# Headings can be linked to as a forge names them, and all that are not found are told.
myst_heading_anchors = 4
nitpicky = True
# Other packages' names, and the words of a Literal, are not in this reference.
nitpick_ignore_regex = [("py:.*", r"(?!metering\.).*")]
# What only the library makes, though a parameter or an attribute has its type.
nitpick_ignore = [
    ("py:class", "metering.asgi.tokenizer.Tokenizer"),
    ("py:class", "metering.coldstart.NotReady"),
    ("py:class", "metering.journal.journal.Journal"),
    ("py:class", "metering.local_share.LocalShare"),
    ("py:class", "metering.observing.Observers"),
]

# What stands between single backticks in a docstring is code, as it is in Markdown.
default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "mixed"
add_module_names = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 72

# The index of a section lists its pages, for readers on a forge: that list is the menu.
LISTED = re.compile(r"\]\(((?:[\w-]+/)?[\w-]+)\.md\)")


def add_menu(_app: Sphinx, name: str, source: list[str]) -> None:
    """Turn the links of an index into its part of the menu."""
    if Path(name).name == "index":
        pages = "\n".join(dict.fromkeys(LISTED.findall(source[0])))
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


FIELD = type(namedtuple("Pair", "first").first)  # noqa: PYI024 - of any will do


def skip_field(
    _app: Sphinx, _kind: str, _name: str, value: Any, *_: Any
) -> bool | None:
    """Leave out a field of a NamedTuple: its class tells of it under Attributes."""
    return True if isinstance(value, FIELD) else None


def setup(app: Sphinx) -> None:
    """Take part in the build."""
    app.connect("source-read", add_menu)
    app.connect("autodoc-skip-member", skip_field)
