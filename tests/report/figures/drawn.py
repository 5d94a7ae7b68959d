"""What tests read back from a drawing: its hover texts, and the letters that are cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.transforms import Affine2D, Bbox

from needlework.report.figures.style import save

SVG = "{http://www.w3.org/2000/svg}"


def drawing(figure: Figure, folder: Path) -> ElementTree.Element:
    """The SVG of a figure as it is saved."""
    save(figure, pd.DataFrame({"x": [1]}), folder / "figure")
    return ElementTree.parse(folder / "figure.svg").getroot()


def told(figure: Figure, folder: Path) -> list[str]:
    """What the marks of a figure say, in the order of drawing."""
    return [title.text or "" for title in drawing(figure, folder).iter(f"{SVG}title")]


def cut_off(svg: ElementTree.Element) -> list[str]:
    """The texts of a drawing that do not lie within it, as wide as they are in DejaVu Sans."""
    width, height = (float(number) for number in svg.get("viewBox", "").split()[2:])
    edge = Bbox([[-1, -1], [width + 1, height + 1]])
    return [
        text for text, box in _texts(svg)
        if not (edge.x0 <= box.x0 and box.x1 <= edge.x1 and edge.y0 <= box.y0 and box.y1 <= edge.y1)
    ]  # fmt: skip


def _texts(svg: ElementTree.Element) -> Iterator[tuple[str, Bbox]]:
    for element in svg.iter(f"{SVG}text"):
        text, style = element.text or "", element.get("style", "")
        (size,) = re.findall(r"font-size: ([\d.]+)px", style)
        font = FontProperties(family="DejaVu Sans", size=float(size))
        width, height, descent = TextToPath().get_text_width_height_descent(text, font, False)
        share = {"middle": 0.5, "end": 1.0}.get("".join(re.findall(r"anchor: (\w+)", style)), 0.0)
        x, y = (float(element.get(key, 0)) for key in "xy")
        box = Bbox.from_bounds(x - share * width, y - height + descent, width, height)
        turn = Affine2D()
        for name, numbers in reversed(
            re.findall(r"(\w+)\(([^)]*)\)", element.get("transform", ""))
        ):
            given = [float(number) for number in numbers.split()]
            if name == "rotate":
                angle, *about = given
                turn = turn + Affine2D().rotate_deg_around(*(about or (0, 0)), angle)
            else:
                turn = turn + Affine2D().translate(*given)
        yield text, turn.transform_bbox(box)
