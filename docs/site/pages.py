"""Pages that the site has beyond ``docs/*.md``, and what the snippets of tutorials print.

MkDocs calls the functions named ``on_...`` as it builds the site.
"""

import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import references
import snippets
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXECUTED = ("Get started", "Tutorials")  # Sections of the navigation.

# A link to a file of the project outside of docs/.
_OUTSIDE = re.compile(r"\]\(\.\./([^)\s#]+)(#[^)\s]*)?\)")
_outputs: dict[str, list[str]] = {}


def on_files(files, config):
    """Adds pages of modules, references and linked scripts, and runs the snippets of tutorials."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    pages = {"references.md": references.page(), "benchmarks.md": _readme()}
    modules = re.findall(r"^## (greedyjax\S*)$", texts[DOCS / "api.md"], re.M)
    pages |= {f"api/{module}.md": f"::: {module}\n" for module in modules}
    linked = {match[1] for text in texts.values() for match in _OUTSIDE.finditer(text)}
    pages |= {
        _in_site(path): f"# {path}\n\n```python\n{(ROOT / path).read_text()}\n```\n"
        for path in linked
        if path.endswith(".py")
    }
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    for path in linked:
        if path.endswith(".json") and (ROOT / path).is_file():  # Else the link is an error.
            files.append(File.generated(config, _in_site(path), abs_src_path=str(ROOT / path)))

    executed = [uri for section in EXECUTED for uri in _section(config.nav, section)]
    # Two at a time: most of a page's time is compilation on one core.
    with ThreadPoolExecutor(2) as pool:
        for uri, made in zip(executed, pool.map(_run, executed), strict=True):
            _outputs[uri], pictures = made
            for name, content in pictures.items():
                files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Puts outputs after the snippets of a page, and sends its links to pages of the site."""
    outputs = iter(_outputs.get(page.file.src_uri, ()))
    markdown = snippets.SNIPPET.sub(lambda match: match[0] + next(outputs, ""), markdown)
    return _OUTSIDE.sub(lambda match: f"]({_in_site(match[1])}{match[2] or ''})", markdown)


def _readme():
    """The page of the benchmarks, whose links start in docs/ and not in benchmarks/."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    return text.replace("](../docs/", "](")


def _in_site(path):
    """Where the site has a file of the project, and the page of its folder for a folder."""
    if path == "README.md":
        return "index.md"
    if path == "benchmarks/README.md" or (ROOT / path).is_dir():
        return "benchmarks.md"
    return (
        f"repository/{path.removesuffix('.py')}.md"
        if path.endswith(".py")
        else f"repository/{path}"
    )


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
