"""The page of references, made from ``references.bib``, and how the pages cite them."""

import re
from functools import cache
from pathlib import Path

from pybtex.database import parse_file
from pybtex.plugin import find_plugin
from pybtex.richtext import Text

FILE = Path(__file__).parents[1] / "references.bib"


def page() -> str:
    """The page: a paragraph for each reference, by authors, with its key as its anchor."""
    style = find_plugin("pybtex.style.formatting", "plain")()
    backend = find_plugin("pybtex.backends", "markdown")()
    paragraphs = [
        " ".join(entry.text.render(backend).split()) + f"\n{{: #{entry.key} }}"
        for entry in style.format_entries(_entries().values())
    ]
    return "\n\n".join(["# References", *paragraphs]) + "\n"


@cache
def citations() -> dict[str, str]:
    """The key of each reference, by how a page cites it: "Eldar, Kuppinger and Bölcskei, 2010"."""
    found = {}
    for key, entry in _entries().items():
        names = [plain(" ".join(person.last_names)) for person in entry.persons["author"]]
        authors = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
        found[f"{authors}, {entry.fields['year']}"] = key
    return found


@cache
def key_of(title: str) -> str | None:
    """The key of the reference with a title, or with a longer title that has it as a part."""
    for key, entry in _entries().items():
        if " ".join(title.lower().split()).rstrip(",.") in plain(entry.fields["title"]).lower():
            return key
    return None


@cache
def _entries():
    return parse_file(FILE).entries


def plain(text: str) -> str:
    """Text without LaTeX's accents, braces and commas at the end, in single spaces."""
    return re.sub(r"\s+", " ", str(Text.from_latex(text))).strip().rstrip(",.")
