"""The sentences of a Markdown page, with the number of words of each."""

import re


def paragraphs(text):
    """The prose of a page, one string per paragraph, list item, heading, cell row or caption.

    Code, formulas set apart, comments, links' targets and images' files are left out; an image
    counts by its caption.
    """
    text = re.sub(r"^( *)```.*?^\1```$", "\n\n", text, flags=re.M | re.S)
    text = re.sub(r"\$\$.*?\$\$", "\n\n", text, flags=re.S)
    text = re.sub(r"<!--.*?-->|<[a-z/][^>]*>", "\n\n", text, flags=re.S)
    text = re.sub(r"!\[([^]]*)\]\([^)]*\)(\{[^}]*\})?", r"\n\n\1\n\n", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"^(#+ .*|\|.*\||!!! .*)$", r"\n", text, flags=re.M)
    text = re.sub(r"^ *([-*]|\d+\.) ", r"\n\n", text, flags=re.M)
    # Code within a line is one word, whatever it contains.
    text = re.sub(r"`[^`]*`", "`code`", text)
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def sentences(text):
    """All sentences of a page; a colon or a semicolon does not end a sentence."""
    return [
        sentence
        for paragraph in paragraphs(text)
        for sentence in re.split(r"(?<=[.!?])[)*\"]*\s+(?=[\"(*[`]*[A-Z`0-9])", paragraph)
    ]


def long_sentences(text, most=30):
    return [each for each in sentences(text) if len(each.split()) > most]
