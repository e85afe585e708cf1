"""Formulas, typeset as MathML when the site is built: readers need no script and no network."""

import re

from latex2mathml.converter import convert

_BLOCK = re.compile(r"^```math\n(.*?)^```$", re.M | re.S)


def on_page_markdown(markdown, page, config, files):
    """Replaces each block of TeX by MathML."""

    def typeset(match):
        formula = convert(match[1].strip(), display="block")
        return f'<div class="formula">{formula}</div>'

    return _BLOCK.sub(typeset, markdown)
