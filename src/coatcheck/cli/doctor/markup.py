"""Builder of HTML and SVG elements. Text is always escaped."""

from xml.etree.ElementTree import Element

from coatcheck.cli.doctor.words import printable


def element(tag: str, *inside: Element | str, **attributes: str | float) -> Element:
    """Build an element. Attribute names may end in ``_`` (``class_``) and have ``_`` for ``-`` (``stroke_width``).

    Args:
        tag: The element's name, such as ``td``.
        *inside: Elements, and text, which is escaped.
        **attributes: Attributes; numbers are rounded to a tenth.
    """
    made = Element(
        tag, {name.strip("_").replace("_", "-"): _value(value) for name, value in attributes.items()}
    )
    for one in inside:
        if isinstance(one, Element):
            made.append(one)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + printable(one)
        else:
            made.text = (made.text or "") + printable(one)
    return made


def _value(value: str | float) -> str:
    return printable(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
