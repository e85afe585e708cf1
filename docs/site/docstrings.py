"""The API's docstrings and signatures, as readers see them rather than as Griffe reads them."""

import re

import griffe


class AsWritten(griffe.Extension):
    """Mends what Griffe does not know: a section's name, and defaults of static fields."""

    def on_object(self, *, obj, **kwargs):
        """Reads the section ``Example:``, which Google style has and Griffe has not, as code."""
        if obj.docstring and not obj.is_alias:
            obj.docstring.value = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M
            )

    def on_attribute_instance(self, *, attr, **kwargs):
        """Writes ``n`` for ``n=static()``, and ``n=1`` for ``n=static(default=1)``."""
        if match := re.fullmatch(r"static\((?:default=(.*))?\)", str(attr.value), re.S):
            attr.value = match[1]
