"""The README, the pages of the docs and their captions are written in short sentences."""

from pathlib import Path

import pytest

import sentences

ROOT = Path(__file__).parent.parent
# The index of promises is a generated list, and no prose.
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem != "promises"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_no_sentence_is_longer_than_30_words_and_no_table_wider_than_8_columns(page):
    text = page.read_text(encoding="utf-8")
    assert sentences.sentences(text)
    assert not sentences.long_sentences(text)
    assert not sentences.wide_tables(text)


def test_sentences_are_those_that_a_reader_sees():
    page = (
        "# A heading is none.\n\nOne sentence\nover two lines (and more). Is `this. one` another?\n"
        "- An item: with a colon; and more.\n![A caption.](of/an/image.png)\n\n"
        "*The [text](https://of.a/link) of a link. And more.*\n\n"
        "| a | table. |\n|---|---|\n| of | cells. |\n\n```python\ncode = 1.  # None.\n```\n"
    )
    assert sentences.sentences(page) == [
        "One sentence over two lines (and more).",
        "Is code another?",
        "An item: with a colon; and more.",
        "A caption.",
        "*The [text] of a link.",
        "And more.*",
    ]
    assert sentences.long_sentences("a " * 31 + "b.")
    assert not sentences.long_sentences("a " * 30)
    assert sentences.wide_tables("| a " * 9 + "|\n" + "|---" * 9 + "|\n")
    assert not sentences.wide_tables("| a " * 7 + r"| \|b\| |" + "\n" + "|---" * 8 + "|\n")
