"""Links from names in code type to the API, from citations to references, and of pictures.

A picture leads to itself in full size. All links are made in the HTML, so that pages and
docstrings need no marks for them.
"""

import logging
import re
from functools import cache
from pathlib import Path

from mkdocs.utils import get_relative_url

import references

API = Path(__file__).parents[1] / "api.md"
_log = logging.getLogger("mkdocs.hooks.links")

# What stays as it is: code blocks, what is a link already, headings.
_KEPT = re.compile(r"(<pre.*?</pre>|<a\b.*?</a>|<h[1-6].*?</h[1-6]>)", re.S)
_CODE = re.compile(r"<code>(?:greedyjax\.|gj\.)?([A-Za-z_][\w.]*)((?:\([^<]*\))?)</code>")
_SECTION = re.compile(r"<h2[^>]*>(greedyjax[\w.]*)")
_CITED = re.compile(r'\(((?:[A-ZÉ][^()<>;"]*, (?:19|20)\d\d)(?:; [^()<>;"]*, (?:19|20)\d\d)*)\)')
_PICTURE = re.compile(r'(<img [^>]*src="([^"]+)"[^>]*>)')
_TITLE = re.compile(r'"([^"<>]{8,})"')


def on_page_content(html, page, config, files):
    """Adds the links to the text of a page."""
    uri = page.file.src_uri
    module = re.match(r"api/(greedyjax.*)\.md", uri)
    near = module[1] if module else ""
    to_references = get_relative_url("references.html", page.url)
    parts = _KEPT.split(html)
    for i, part in enumerate(parts):
        if i % 2:
            section = _SECTION.match(part)
            near = section[1] if section and uri == "api.md" else near
            continue
        part = _CODE.sub(lambda match, near=near: _named(match, near), part)
        if uri != "references.md":
            part = _CITED.sub(lambda match: _cited(match, to_references, uri), part)
            part = _TITLE.sub(lambda match: _titled(match, to_references), part)
        parts[i] = part
    return _PICTURE.sub(r'<a href="\2">\1</a>', "".join(parts))


@cache
def _names():
    """The API's name of each name that a page may write: ``training.fit``, ``OMPNet``, ``omp``."""
    known, short = {}, {}
    for section in re.split(r"^## ", API.read_text(encoding="utf-8"), flags=re.M):
        module = section.partition("\n")[0]
        if not module.startswith("greedyjax"):
            continue
        for name in re.findall(r"^\| `([\w.]+)", section, re.M):
            full = f"{module}.{name}"
            known[full] = known[full.removeprefix("greedyjax.")] = full
            if module == "greedyjax.training.losses":
                known[f"losses.{name}"] = full
            short.setdefault(name, []).append(full)
    # A class by its name alone, where no other has it; functions are common words, such as `fit`.
    known |= {name: full[0] for name, full in short.items() if name[0].isupper() and not full[1:]}
    del known["recover"]  # So is the command, and what a network's harden() returns.
    return known


def _named(match, near):
    name = match[1]
    full = _names().get(f"{near}.{name}") or _names().get(name)
    if full is None or full == near:
        return match[0]
    return f'<autoref identifier="{full}">{match[0]}</autoref>'


def _cited(match, to_references, uri):
    linked = []
    for citation in match[1].split("; "):
        key = references.citations().get(citation)
        if key is None:
            _log.warning("%s: no reference for (%s) in references.bib", uri, citation)
        linked.append(f'<a href="{to_references}#{key}">{citation}</a>' if key else citation)
    return f"({'; '.join(linked)})"


def _titled(match, to_references):
    key = references.key_of(match[1])
    return f'<a href="{to_references}#{key}">{match[0]}</a>' if key else match[0]
