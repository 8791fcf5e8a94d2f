"""How Sphinx makes the site: `make docs`."""

import re
from collections import namedtuple
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.util.typing import stringify_annotation
from starlette.types import ASGIApp, Scope

from metering import __version__
from metering.asgi.parts import Identify
from metering.asgi.subjects import Subject
from metering.asgi.tokenizer import CountTokens
from metering.gauges import ReadQueue

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
html_use_index = html_domain_indices = False
pygments_dark_style = "github-dark"  # Furo's own underlines modules like links.
html_show_sphinx = False
smartquotes_action = "D"  # dashes alone

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
highlight_language = "none"  # What is no example is drawn, or was printed.
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_param = False
napoleon_attr_annotations = False  # Signatures have the types.
add_module_names = False
toc_object_entries = False  # They would be copied into the menu of every page.
python_display_short_literal_types = True
python_maximum_signature_line_length = 110

# The index of a section lists its pages, for readers on a forge: that list is the menu.
LISTED = re.compile(r"\]\(([\w-]+(?:/index)?)\.md\)")


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


for field in PyObject.doc_field_types:
    if field.name == "variable":
        field.label = "Attributes"  # As in the sources; Sphinx says "Variables".

ALIASES = {
    "CountTokens": CountTokens,
    "ASGIApp": ASGIApp,
    "~metering.asgi.parts.Identify": Identify,
    "~metering.asgi.subjects.Subject": Subject,
    "ReadQueue": ReadQueue,
    "Scope": Scope,
}
SPELLED_OUT = {
    stringify_annotation(alias, "smart"): name for name, alias in ALIASES.items()
}


def sign(
    _app: Sphinx,
    _kind: str,
    _name: str,
    of: object,
    _options: object,
    parameters: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Write aliases of types by their names; nobody makes a protocol."""
    if parameters:  # Sphinx cannot read what dataclasses and msgspec show there.
        parameters = parameters.replace("<factory>", "...")
    if getattr(of, "_is_protocol", False):
        return "", None
    for spelled_out, name in SPELLED_OUT.items():
        parameters = parameters and parameters.replace(spelled_out, name)
        returned = returned and returned.replace(spelled_out, name)
    return parameters, returned


def setup(app: Sphinx) -> None:
    """Take part in the build."""
    app.connect("source-read", add_menu)
    app.connect("autodoc-skip-member", skip_field)
    app.connect("autodoc-process-signature", sign)
