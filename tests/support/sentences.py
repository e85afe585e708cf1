"""The sentences and the tables of a Markdown page, counted."""

import re

_LEFT_OUT = (
    r"^( *)```[\s\S]*?^\1```$",  # Code and formulas.
    r"^ {4}\S.*$",
    r"<!--[\s\S]*?-->|<[a-z/][^>]*>",
    r"^#.*$",  # Headings.
    r"^\|.*$",  # Tables.
)


def sentences(text):
    """All sentences of the prose and of the captions; a colon or a semicolon ends none.

    Code counts as one word. Of a link its text counts, and of an image its description.
    """
    for pattern in _LEFT_OUT:
        text = re.sub(pattern, "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"!\[([^]]*)\]\([^)]*\)", r"\n\n\1\n\n", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"^ *([-*]|\d+\.) ", r"\n\n", text, flags=re.MULTILINE)
    blocks = [" ".join(block.split()) for block in re.split(r"\n\s*\n", text)]
    ends = r"(?<=[.!?])[*\")\]]*\s+"
    return [each for block in blocks if block for each in re.split(ends, block) if each]


def long_sentences(text, most=30):
    """The sentences of more than ``most`` words."""
    return [each for each in sentences(text) if len(each.split()) > most]


def wide_tables(text, most=8):
    """The heads of the tables of more than ``most`` columns."""
    heads = re.findall(r"^(\|.*)\n\|[-:| ]+\|$", text, re.MULTILINE)
    return [head for head in heads if len(re.split(r"(?<!\\)\|", head)) - 2 > most]
