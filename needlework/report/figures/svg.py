"""What matplotlib's SVG still lacks: marks that say what they are, and the letters of a page."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

from matplotlib.artist import Artist

FONTS = ("DejaVu Sans", "system-ui", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif")
"""The first is what widths are measured with; no other is wider, so that no label is cut."""

_SVG = "http://www.w3.org/2000/svg"
_TIP = "tip:"
_LONG = re.compile(r"\d+\.\d{3,}")
_IDLE = re.compile(r"rotate\(-?0 [^)]*\)")
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def tip(artist: Artist, *texts: str) -> None:
    """Let the SVG say at a mark what it is: a <title>, which browsers show and read out.

    Args:
        artist: what is drawn.
        texts: one for the whole artist, or one for each of its markers or cells, in their order.
    """
    artist.set_gid(_TIP + json.dumps(texts, ensure_ascii=False))


def finished(drawn: str) -> str:
    """The SVG with its titles, in the page's fonts, without what no one sees.

    Raises:
        ValueError: an artist has other texts than marks.
    """
    root = ElementTree.fromstring(drawn)
    # matplotlib's one rule of CSS would hold for the whole page.
    for unwanted in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}defs[{{{_SVG}}}style]"):
        for element in root.findall(unwanted):
            root.remove(element)
    root.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt"}
    root.set("font-family", ", ".join(name if "-" in name else f"'{name}'" for name in FONTS[1:]))
    used = set(re.findall(r"#([\w-]+)", drawn))
    for element in list(root.iter()):
        name = element.get("id", "")
        if name.startswith(_TIP):
            _title(element, json.loads(name.removeprefix(_TIP)))
        if name not in used:
            element.attrib.pop("id", None)
        _shorten(element)
    for group in root.iter(f"{{{_SVG}}}g"):
        _share_style(group)
    return ElementTree.tostring(root, encoding="unicode")


def _title(group: ElementTree.Element, texts: list[str]) -> None:
    marks = [group]
    if len(texts) > 1:
        marks = group.findall(f".//{{{_SVG}}}use") or group.findall(f"./{{{_SVG}}}path")
    if len(marks) != len(texts):
        raise ValueError(f"{len(marks)} marks have {len(texts)} texts, the first: {texts[0]!r}")
    for mark, text in zip(marks, texts, strict=True):
        title = ElementTree.Element(f"{{{_SVG}}}title")
        title.text = text
        mark.insert(0, title)


def _shorten(element: ElementTree.Element) -> None:
    """Take out blanks, fonts, turns by nothing, and digits below a hundredth of a point."""
    element.tail = "\n"
    if not (element.text or "").strip():
        element.text = None
    if style := element.get("style"):
        element.set("style", re.sub(r"font-family: [^;]*(; |$)", "", style))
    if element.tag != f"{{{_SVG}}}image":
        for key in {"d", "x", "y", "transform"} & element.attrib.keys():
            element.set(
                key, _LONG.sub(lambda found: f"{float(found[0]):.2f}", element.get(key, ""))
            )
    if _IDLE.fullmatch(element.get("transform", "")):
        del element.attrib["transform"]


def _share_style(group: ElementTree.Element) -> None:
    """Say once, for the group, how all its markers look."""
    marks = [mark for mark in group if mark.tag == f"{{{_SVG}}}use"]
    looks = {mark.get("style") for mark in marks}
    if len(marks) < 2 or len(marks) < len(group) or len(looks) > 1 or group.get("style"):
        return
    group.set("style", looks.pop() or "")
    for mark in marks:
        mark.attrib.pop("style", None)
