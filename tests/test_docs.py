"""The documentation fits the library: snippets run, and the API page has all public names."""

import argparse
import ast
import importlib
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import greedyjax as gj
import snippets
from greedyjax import cli
from greedyjax.operators import MatrixFree, check_adjoint
from greedyjax.sorting import BoundaryGate, Relaxation
from optimal_transport import OptimalTransport
from pairs import Pairs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SECTIONS = (
    "greedyjax",
    "greedyjax.certificates",
    "greedyjax.nets",
    "greedyjax.pursuit",
    "greedyjax.operators",
    "greedyjax.off_grid",
    "greedyjax.structures",
    "greedyjax.policies",
    "greedyjax.training",
    "greedyjax.training.losses",
    "greedyjax.problems",
    "greedyjax.metrics",
    "greedyjax.plotting",
    "greedyjax.sklearn",
    "greedyjax.sorting",
)


def snippets_of(page):
    return snippets.snippets(page.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if snippets_of(page)], ids=lambda p: p.stem
)
def test_snippets_run(page, tmp_path):
    codes = snippets_of(page)
    assert len(snippets.run(codes, tmp_path)) == len(codes)


def test_snippets_run_in_order_and_print_and_fail(tmp_path):
    assert snippets.snippets("```python\na = 1\n```\n\n```sh\nls\n```\n") == ["a = 1\n"]
    assert snippets.run(["a = 1\nprint(a)", "", "print(a + 1)"], tmp_path) == ["1", "", "2"]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        snippets.run(["1 / 0"], tmp_path)


def test_the_site_has_a_place_for_every_page_and_every_module():
    config = yaml.safe_load((ROOT / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8"))

    def listed(entry):
        if isinstance(entry, str):
            return [entry]
        parts = entry if isinstance(entry, list) else entry.values()
        return [page for part in parts for page in listed(part)]

    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    pages = [page.name for page in PAGES if page.parent.name == "docs"]
    modules = [f"api/{name}.md" for name in re.findall(r"^## (greedyjax\S*)$", text, re.M)]
    made = ["benchmarks.md", "references.md"]
    assert sorted(listed(config["nav"])) == sorted(pages + modules + made)


@pytest.mark.parametrize(
    ("page", "file", "most"),
    [
        ("own_algorithm", "generalised_omp", None),
        ("own_relaxation", "optimal_transport", 25),
        ("own_operator", "masked_fft", 15),
        ("own_structure", "pairs", 20),
    ],
)
def test_what_a_page_writes_is_what_the_contract_tests(page, file, most):
    source = (ROOT / "tests" / "support" / f"{file}.py").read_text(encoding="utf-8")
    first, *_ = snippets_of(ROOT / "docs" / f"{page}.md")
    assert first == source[source.index("\n\n") + 2 :]
    lines = [line for line in source.splitlines() if line.strip()]
    assert most is None or len(lines) <= most


def _soft_omp(relaxation):
    return gj.soft_omp(jnp.eye(4), jnp.ones(4), sparsity=2, tau=0.1, relaxation=relaxation)


def _omp(structure, sparsity=2):
    return gj.omp(jnp.ones((24, 64)), jnp.ones(24), sparsity=sparsity, structure=structure)


def _fourier(matvec=jnp.fft.fft, rmatvec=jnp.fft.ifft, m=256):
    return MatrixFree(matvec, rmatvec, shape=(m, 256), dtype=jnp.complex128)


class _Unregistered(Relaxation):
    def __init__(self, tau):
        self.tau = tau

    def first(self, scores, k, chosen=None):
        return OptimalTransport(self.tau).first(scores, k)


_Unregistered.__name__ = "OptimalTransport"


def _with_first(first):
    """The relaxation of the page with another `first`, under its own name."""
    kind = type("OptimalTransport", (OptimalTransport,), {"first": first})
    return jax.tree_util.register_dataclass(kind, data_fields=["tau"], meta_fields=[])


def _held_by_a_closure(gains):
    A = _fourier(lambda x: gains * jnp.fft.fft(x), lambda y: jnp.fft.fft(gains * y))
    return gj.iht(A, jnp.ones(256), sparsity=2, num_steps=1).residual_norm


class MyOperator:
    shape = (16, 16)

    def matvec(self, x):
        return x


MISTAKES = {
    "own_relaxation": [
        lambda: _soft_omp(OptimalTransport(0.1)),
        lambda: _soft_omp(_Unregistered),
        lambda: _soft_omp(BoundaryGate),
        lambda: _soft_omp(_with_first(lambda self, scores, k, chosen=None: jnp.ones((k, 4)))),
        lambda: _soft_omp(_with_first(lambda self, scores, k: jnp.ones((k, 4)))),
    ],
    "own_operator": [
        lambda: check_adjoint(_fourier(), jax.random.key(0)),
        lambda: check_adjoint(_fourier(rmatvec=jnp.fft.fft), jax.random.key(0)),
        lambda: gj.omp(_fourier(), jnp.ones(256), sparsity=2),
        lambda: gj.iht(_fourier(np.asarray), jnp.ones(256), sparsity=2, num_steps=1),
        lambda: gj.iht(_fourier(m=64), jnp.ones(64), sparsity=2, num_steps=1),
        lambda: gj.iht(MyOperator(), jnp.ones(16), sparsity=2, num_steps=1),
        lambda: jax.grad(_held_by_a_closure)(jnp.ones(256)),
    ],
    "own_structure": [
        lambda: _omp(Pairs),
        lambda: _omp(jnp.arange(64) // 2),
        lambda: _omp(Pairs(), sparsity=13),
    ],
}


@pytest.mark.wrong_types
@pytest.mark.parametrize("page", MISTAKES)
def test_messages_of_a_page_are_those_of_the_library(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    listed = re.findall(r"((?:TypeError|ValueError): [^`]+?: expected [^`]+)`", text)
    raised = []
    for mistake in MISTAKES[page]:
        with pytest.raises((TypeError, ValueError)) as info:
            mistake()
        raised.append(f"{info.typename}: {info.value}")
    assert len(listed) == len(raised)
    for message, wanted in zip(raised, listed, strict=True):
        assert message.startswith(wanted.removesuffix("...").rstrip())
        assert wanted.endswith("...") or message == wanted


def test_links_lead_somewhere():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(((?!https?:)[^)\s]*)\)", text):
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), f"{page.name} links to {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
                anchors = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
                assert anchor in anchors, f"{page.name} links to {target}"


def table(section):
    """The rows of the one table of a section of docs/api.md: (first cell, the rest)."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    body = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert body, f"docs/api.md: no section {section}"
    return re.findall(r"^\| `([^`]+)` \| (.*) \|$", body.group(1), re.M)


def public_names(module):
    """Its `__all__`, or else its own functions."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    functions = inspect.getmembers(module, inspect.isfunction)
    return {
        name
        for name, f in functions
        if f.__module__ == module.__name__ and not name.startswith("_")
    }


@pytest.mark.parametrize("section", SECTIONS)
def test_api_page_lists_what_is_public_and_nothing_else(section):
    module = importlib.import_module(section)
    rows = table(section)
    names = [row.partition("(")[0] for row, _ in rows]
    expected = public_names(module)
    if section in ("greedyjax.sorting", "greedyjax.pursuit"):  # Functions of greedyjax as well.
        expected -= public_names(importlib.import_module("greedyjax"))
    assert sorted(name for name in names if "." not in name) == sorted(expected)

    for (row, summary), name in zip(rows, names, strict=True):
        value = module
        for part in name.split("."):
            value = getattr(value, part)
        if "(" in row:
            assert documented(row) == actual(value, is_method="." in name), name
        for field in getattr(value, "_fields", ()) if "(" not in row else ():
            assert f"`{field}`" in summary, f"{name}: {field}"


def documented(row):
    """Parameter name to (keyword-only, default) of a signature as written, `selection` as text."""
    arguments = ast.parse(f"def f{row[row.index('(') :]}: ...").body[0].args
    positional = [None] * (len(arguments.args) - len(arguments.defaults)) + arguments.defaults
    pairs = [(a, d, False) for a, d in zip(arguments.args, positional, strict=True)]
    pairs += [
        (a, d, True) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return {a.arg: (keyword, d and ast.unparse(d)) for a, d, keyword in pairs}


def actual(value, *, is_method):
    """The same of the object itself; a function as a default is written by its name."""
    is_class = inspect.isclass(value) and not hasattr(value, "_fields")
    parameters = list(inspect.signature(value.__init__ if is_class else value).parameters.values())

    def default(parameter):
        if parameter.default is parameter.empty:
            return None
        return getattr(parameter.default, "__name__", repr(parameter.default))

    return {
        p.name: (p.kind is p.KEYWORD_ONLY, default(p))
        for p in parameters[1 if is_class or is_method else 0 :]
        if not p.name.startswith("_")
    }


def test_api_page_lists_every_option_of_every_command():
    (commands,) = (
        action
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    expected = {
        name: sorted(
            option
            for action in command._actions
            for option in action.option_strings
            if option not in ("-h", "--help")
        )
        for name, command in commands.choices.items()
    }
    listed = {
        name: sorted(re.findall(r"`(--[\w-]+)`", rest)) for name, rest in table("Command line")
    }
    assert listed == expected


def test_references_have_every_title_that_a_docstring_cites():
    references = plain((ROOT / "docs" / "references.bib").read_text(encoding="utf-8"))
    cited = set()
    for file in (ROOT / "greedyjax").rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        blocks = re.findall(r'(?:References|Source):(.*?)(?:\n\s*\n|""")', source, re.S)
        cited |= {plain(title) for block in blocks for title in re.findall(r'"([^"]+)"', block)}
    assert cited
    assert not {title for title in cited if title not in references}


def plain(text):
    """Lower case, without braces, quotes' commas and line breaks."""
    return " ".join(re.sub(r"[{}]", "", text).lower().split()).rstrip(",")
