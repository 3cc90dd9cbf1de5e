"""A chart as an SVG picture that needs no page around it, as notebooks show it."""

from collections.abc import Iterable, Mapping

from dialsum_cli.markup import Html, tag

WIDTH, HEIGHT = 400, 240
"""Of a chart, in units that are CSS pixels on a phone: its letters need no magnifying glass there."""
_LINE = 18  # units of a line of text
_STYLE = """
.dialsum-chart { max-width: 36rem; font-family: system-ui, "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR",
  "Noto Sans CJK KR", sans-serif; }
.dialsum-chart .paper { fill: #fff; }
.dialsum-chart text { fill: #59636e; font-size: 12px; }
.dialsum-chart .heading { fill: #1b1f24; font-size: 13px; font-weight: 600; }
.dialsum-chart .marked { fill: #b3261e; font-weight: 600; paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.dialsum-chart .bar { fill: #5b9bd5; }
.dialsum-chart .grid { stroke: #d5dae0; }
.dialsum-chart .axis { stroke: #59636e; }
.dialsum-chart .mark { stroke: #b3261e; stroke-width: 1.5; stroke-dasharray: 4 3; }
.dialsum-chart .whisker { stroke: #1b1f24; stroke-width: 1.5; fill: none; }
.dialsum-chart .dot { stroke: #0b62a8; stroke-width: 5; stroke-linecap: round; }
.dialsum-chart .shade1 { stroke-opacity: .4; }
.dialsum-chart .shade2 { stroke-opacity: .65; }
.dialsum-chart .shade3 { stroke-opacity: .85; }
.dialsum-chart .line { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.dialsum-chart .line0 { stroke: #0b62a8; }
.dialsum-chart .line1 { stroke: #b4530a; }
.dialsum-chart .line2 { stroke: #6b3fa0; }
.dialsum-chart .line3 { stroke: #1c7a4f; }
"""  # on white: a notebook's page doesn't tell a picture whether it is dark


def picture(
    title: str, words: str, shapes: Iterable[Html], *, height: int = HEIGHT,
    key: Iterable[tuple[str, Mapping[str, str]]] = (),
) -> str:  # fmt: skip
    """The shapes below their title and the key of their lines, as an SVG document with its own style.

    Args:
        words: the chart in words.
        height: of the shapes, in the units in which they are `WIDTH` wide.
        key: names of lines, and the attributes with which these are drawn.
    """
    heading = [tag("text", title, x=8, y=_LINE - 3, class_="heading")]
    for row, (name, look) in enumerate(key, 1):
        y = _LINE * (row + 1) - 3
        heading += [tag("path", d=f"M8 {y - 4}h26", **look), tag("text", name, x=40, y=y)]
    top = _LINE * (len(heading) // 2 + 1)
    drawing = tag(
        "svg",
        tag("title", f"{title}: {words}"),
        tag("style", Html(_STYLE)),
        tag("rect", width=WIDTH, height=top + height, class_="paper"),
        *heading,
        tag("g", *shapes, transform=f"translate(0 {top})"),
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {top + height}", role="img", class_="dialsum-chart",
    )  # fmt: skip
    return str(drawing)
