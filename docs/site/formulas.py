"""Formulas, typeset as MathML when the site is built: readers need no script and no network."""

import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

_BLOCK = re.compile(r"^```math\n(.*?)^```$", re.M | re.S)


def on_page_markdown(markdown, page, config, files):
    """Replaces each block of TeX by MathML."""

    def typeset(match):
        formula = convert(match[1].strip(), display="block")
        # A command that the converter does not know is left in the formula as it is.
        if unknown := re.search(r"\\[A-Za-z]+|<mi>&<", formula):
            raise PluginError(f"{page.file.src_uri}: {unknown[0]} is not known in {match[1]}")
        return f'<div class="formula">{formula}</div>'

    return _BLOCK.sub(typeset, markdown)
