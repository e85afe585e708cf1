"""Docstrings of the API as Google style has them and mkdocstrings reads them."""

import re

import griffe


class Sections(griffe.Extension):
    """Reads the section ``Example:``, which is in the style but not among Griffe's, as code."""

    def on_object(self, *, obj, **kwargs):
        """Renames the section in one docstring."""
        if obj.docstring and not obj.is_alias:
            obj.docstring.value = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M
            )
