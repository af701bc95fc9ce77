"""From matplotlib's SVG to a picture that lives inside a page: no colour of its own, no global style, no id that collides."""

import io
import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK: Final = "#0a0b01"
QUIET: Final = "#0a0b02"
GRID: Final = "#0a0b03"
BAND: Final = "#0a0b04"
MARK: Final = "#0a0b05"
SERIES: Final = tuple(f"#0a0c{index:02x}" for index in range(8))

# Stand-in colours, which nothing else uses, and the variable of the page's colour scheme that each becomes.
_VARIABLES: Final = {INK: "ink", QUIET: "quiet", GRID: "grid", BAND: "band", MARK: "mark",
                     **{color: f"series-{index}" for index, color in enumerate(SERIES)}}
_DROPPED_STYLES: Final = {"font-family", "-inkscape-font-specification"}
_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")
_LINK: Final = "{http://www.w3.org/1999/xlink}href"


def inline(figure: "Figure", *, name: str, title: str, description: str) -> str:
    """A figure as an ``<svg>`` element for a page.

    Args:
        figure: drawn in the stand-in colours of this module.
        name: prefix of every id inside, unique in the page.
        title: the picture's accessible name.
        description: what it shows, in words, for those who do not see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    root = ET.fromstring(buffer.getvalue())
    box = root.attrib["viewBox"]
    children = [child for child in root if _local(child.tag) not in {"metadata", "style"} and not _is_style(child)]
    svg = ET.Element("svg", {"class": "chart", "viewBox": box, "role": "img", "aria-labelledby": f"{name}-t {name}-d"})
    ET.SubElement(svg, "title", {"id": f"{name}-t"}).text = title
    ET.SubElement(svg, "desc", {"id": f"{name}-d"}).text = description
    svg.extend(children)
    used = set(_references(svg))
    for element in list(svg)[2:]:
        for inner in element.iter():
            _clean(inner, name, used)
    _flatten(svg)
    return ET.tostring(svg, encoding="unicode")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _is_style(element: ET.Element) -> bool:
    """matplotlib's ``<defs><style>*{...}</style></defs>`` would restyle the whole page."""
    return _local(element.tag) == "defs" and all(_local(child.tag) == "style" for child in element)


def _references(root: ET.Element) -> list[str]:
    found = []
    for element in root.iter():
        if _LINK in element.attrib:
            found.append(element.attrib[_LINK].removeprefix("#"))
        for value in element.attrib.values():
            found += _REFERENCE.findall(value)
    return found


def _clean(element: ET.Element, name: str, used: set[str]) -> None:
    """Local tag names, ids kept only where something refers to them, colours as variables, no font of its own."""
    element.tag = _local(element.tag)
    element.tail = None
    if element.tag not in {"text", "tspan"}:
        element.text = None
    attributes = dict(element.attrib)
    element.attrib.clear()
    for key, value in attributes.items():
        if key == "id":
            if value in used:
                element.set("id", f"{name}-{value}")
        elif key == _LINK:
            element.set("href", f"#{name}-{value.removeprefix('#')}")
        elif key == "style":
            style = _style(value)
            if style:
                element.set("style", style)
        else:
            element.set(_local(key), _REFERENCE.sub(lambda match: f"url(#{name}-{match[1]})", value))


def _style(text: str) -> str:
    kept = []
    for declaration in filter(None, (part.strip() for part in text.split(";"))):
        key, _, value = declaration.partition(":")
        value = value.strip()
        if key.strip() not in _DROPPED_STYLES:
            kept.append(f"{key.strip()}:{f'var(--{_VARIABLES[value]})' if value in _VARIABLES else value}")
    return ";".join(kept)


def _flatten(element: ET.Element) -> None:
    """Groups that say nothing give way to what is inside them."""
    for child in list(element):
        _flatten(child)
    index = 0
    while index < len(element):
        child = element[index]
        if child.tag == "g" and not child.attrib:
            element[index : index + 1] = list(child)
            continue
        index += 1
