"""The API's docstrings and signatures, as readers see them rather than as Griffe reads them."""

import re

import griffe

SHAPED = ("Bool", "Complex", "Float", "Inexact", "Int", "Real")  # Of jaxtyping.


class AsWritten(griffe.Extension):
    """Mends a section's name, defaults of static fields, and shapes in annotations."""

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
        _quote_shapes(attr.annotation)

    def on_function_instance(self, *, func, **kwargs):
        """Writes the shapes in annotations as they are."""
        for parameter in func.parameters:
            _quote_shapes(parameter.annotation)
        _quote_shapes(func.returns)


def _quote_shapes(annotation):
    """Makes text of jaxtyping's shapes: Griffe reads ``"m *snapshots"`` as a product."""
    if isinstance(annotation, griffe.ExprSubscript) and str(annotation.left) in SHAPED:
        array, shape = annotation.slice.elements
        text = str(shape).strip("' ").replace(" * ", " *")
        annotation.slice.elements = [array, f'"{text}"']
    elif isinstance(annotation, griffe.Expr):
        for part in annotation.iterate(flat=False):
            if part is not annotation:  # A name yields itself.
                _quote_shapes(part)
