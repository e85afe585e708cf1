"""Pages that the site has beyond ``docs/*.md``, and what the snippets of tutorials print.

MkDocs calls the functions named ``on_...`` as it builds the site.
"""

import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

import references
import snippets

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXECUTED = ("Get started", "Tutorials")  # Sections of the navigation.

# A link to a file of the project outside of docs/.
_OUTSIDE = re.compile(r"\]\(\.\./([^)\s#]+)(#[^)\s]*)?\)")
_FETCHED = re.compile(r'<(?:script|img|link|iframe)\b[^>]+(?:src|href)="(?:https?:)?//')
_NOT_SEARCHED = "---\nsearch: {exclude: true}\n---\n\n"
_outputs: dict[str, list[str]] = {}


def on_files(files, config):
    """Adds pages of modules, references and linked scripts, and runs the snippets of tutorials."""
    for uri, text in {**_pages(), **_sources()}.items():
        files.append(File.generated(config, uri, content=text))
    executed = [uri for section in EXECUTED for uri in _section(config.nav, section)]
    # Two at a time: most of a page's time is compilation on one core.
    with ThreadPoolExecutor(2) as pool:
        for uri, (shown, pictures) in zip(executed, pool.map(_run, executed), strict=True):
            _outputs[uri] = shown
            for name, content in pictures.items():
                files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Puts outputs after the snippets of a page, and sends its links to pages of the site."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation", "toc"]
    outputs = iter(_outputs.get(page.file.src_uri, ()))
    markdown = snippets.SNIPPET.sub(lambda match: match[0] + next(outputs, ""), markdown)
    return _OUTSIDE.sub(lambda match: f"]({_in_site(match[1])}{match[2] or ''})", markdown)


def on_post_page(output, page, config):
    """Refuses a page that would fetch something."""
    if match := _FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} needs a network: {match[0]}")
    return output


def _pages():
    """References, the benchmarks' own page, and a page of docstrings for each module."""
    benchmarks = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    names = (DOCS / "api.md").read_text(encoding="utf-8")
    modules = re.findall(r"^## (greedyjax\S*)$", names, re.M)
    return {
        "references.md": references.page(),
        "benchmarks.md": benchmarks.replace("](../docs/", "]("),  # Its links start elsewhere.
        **{f"api/{module}.md": f"::: {module}\n" for module in modules},
    }


def _sources():
    """The scripts and results outside of docs/ that pages link to."""
    texts = [path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")]
    found = {}
    for path in sorted({match[1] for text in texts for match in _OUTSIDE.finditer(text)}):
        if not (ROOT / path).is_file() or path.endswith(".md"):
            continue  # Another page; or it is missing, and MkDocs says which link is broken.
        text = (ROOT / path).read_text(encoding="utf-8")
        found[_in_site(path)] = (
            f"{_NOT_SEARCHED}# {path}\n\n```python\n{text}\n```\n" if path.endswith(".py") else text
        )
    return found


def _in_site(path):
    """Where the site has a file of the project, and the page of its folder for a folder."""
    if path == "README.md":
        return "index.md"
    if path == "benchmarks/README.md" or (ROOT / path).is_dir():
        return "benchmarks.md"
    return "repository/" + re.sub(r"[.]py$", ".md", path)


def _section(nav, title):
    """The pages of one section of the navigation."""
    (entries,) = (item[title] for item in nav if isinstance(item, dict) and title in item)
    return [entry if isinstance(entry, str) else next(iter(entry.values())) for entry in entries]


def _run(uri):
    """The Markdown to put after each snippet of a page, and the pictures that the snippets made."""
    codes = snippets.snippets((DOCS / uri).read_text(encoding="utf-8"))
    if not codes:
        return [], {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            printed = snippets.run(codes, Path(folder))
        except RuntimeError as error:
            raise PluginError(f"a snippet of docs/{uri} failed:\n{error}") from error
        pictures = {path.name: path.read_bytes() for path in Path(folder).glob("*.png")}
    shown = []
    for code, text in zip(codes, printed, strict=True):
        after = f'\n\n```text title="Output"\n{text}\n```' if text else ""
        for name in re.findall(r'"([\w-]+\.png)"', code):
            after += f"\n\n![{name}](images/{Path(uri).stem}-{name})"
        shown.append(after)
    return shown, {f"images/{Path(uri).stem}-{name}": data for name, data in pictures.items()}
