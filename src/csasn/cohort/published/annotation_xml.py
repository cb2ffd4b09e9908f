"""One annotation file in XML becomes its root element; what could expand or reach elsewhere is refused unparsed."""

import xml.etree.ElementTree as ET

from csasn.decoding.refused import RefusedPicture

UNREADABLE = "annotation-unreadable"


def parsed(content: bytes) -> ET.Element:
    """The root of an XML document without document type or entities.

    The text is decoded here (UTF-8, else Latin-1) and handed over as text, which overrides the encoding that the
    document declares: an entity cannot hide from the search in another encoding. Raises RefusedPicture.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        raise RefusedPicture(UNREADABLE, "XML in UTF-16 or UTF-32, or with null characters")
    upper = text.upper()
    if "<!DOCTYPE" in upper or "<!ENTITY" in upper:
        raise RefusedPicture(UNREADABLE, "XML with a document type or entities, which annotations have no use for")
    try:
        return ET.fromstring(text)  # noqa: S314 - no declaration is left that could expand
    except ET.ParseError as error:
        raise RefusedPicture(UNREADABLE, f"not well-formed XML: {error}") from error


def text_of(element: ET.Element, tag: str) -> str:
    """The stripped text of a child, or an empty string; RefusedPicture where the child stands twice."""
    found = element.findall(tag)
    if len(found) > 1:
        raise RefusedPicture(UNREADABLE, f"<{tag}> stands {len(found)} times")
    return (found[0].text or "").strip() if found else ""
