"""Charts as inline SVG, each with its title, its numbers in words, and what it could not draw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10
from typing import NamedTuple

from rich.cells import cell_len

from dialsum_cli.markup import Html, html, tag
from dialsum_cli.reports.pictures import HEIGHT, WIDTH, picture

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 384, 14, 196
_CELL, _NAMES, _NUMBERS = 6.5, 190, 110  # of bars drawn as a picture: units for a letter, for all names, for numbers
_DOT = 3
"""Side of the squares within which points are drawn as one: no file gets larger than the chart has squares."""
_DASHES = ("none", "7 4", "2 3", "9 3 2 3")

Point = tuple[float, float]


class Mark(NamedTuple):
    """A value on the horizontal axis that is pointed out."""

    x: float
    label: str


class _Drawing(NamedTuple):
    """A chart without its frame: `words` for who can't see it, `key` of its lines, and what could not be drawn."""

    title: str
    words: str
    shapes: Sequence[Html]
    undrawn: int
    key: Sequence[tuple[str, Mapping[str, str]]] = ()

    @property
    def svg(self) -> Html:
        """The chart for a page that has our style."""
        return tag(
            "svg", tag("title", f"{self.title}: {self.words}"), *self.shapes, viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img", class_="chart",
        )  # fmt: skip


class _Chart:
    """What can be drawn stands on a page as a figure, and in a notebook as a picture of its own."""

    __slots__ = ()

    def _draw(self) -> _Drawing:
        raise NotImplementedError

    def to_html(self) -> Html:
        """The chart as a figure."""
        drawing = self._draw()
        key = []
        for name, look in drawing.key:
            line = tag("path", d="M1 5h26", **look)
            sample = tag("svg", line, viewBox="0 0 28 10", class_="sample", aria_hidden="true")
            key.append(tag("li", sample, name))
        return tag(
            "figure", tag("figcaption", drawing.title), drawing.svg,
            tag("ul", *key, class_="key") if len(key) > 1 else "",
            tag("p", f"{drawing.undrawn} not drawn: no finite numbers", class_="caption") if drawing.undrawn else "",
        )  # fmt: skip

    def _repr_svg_(self) -> str:
        drawing = self._draw()
        title = drawing.title + (f" ({drawing.undrawn} not drawn: no finite numbers)" if drawing.undrawn else "")
        return picture(title, drawing.words, drawing.shapes, key=drawing.key if len(drawing.key) > 1 else ())

    def __repr__(self) -> str:
        drawing = self._draw()
        return f"{type(self).__name__}({drawing.title}: {drawing.words})"


@dataclass(frozen=True, slots=True, repr=False)
class Histogram(_Chart):
    """How many of the values fall into each of `bins` equal parts of `within`, which grows to hold all values."""

    title: str
    values: Sequence[float]
    label: str
    within: tuple[float, float] = (0, 100)
    bins: int = 20
    mark: Mark | None = None

    def _draw(self) -> _Drawing:
        values = [value for value in self.values if isfinite(value)]
        low, high = _range([*values, *self.within])
        width = (high - low) / self.bins
        counts = Counter(min(int((value - low) / width), self.bins - 1) for value in values)
        axes = _Axes((low, high), (0, 1.15 * max(counts.values(), default=1)))  # the rest is for the mark's label
        bars = []
        for index, count in sorted(counts.items()):
            left, right = axes.x(low + index * width), axes.x(low + (index + 1) * width)
            start, end = f"{low + index * width:.4g}", f"{low + (index + 1) * width:.4g}"
            bars.append(
                tag("rect", tag("title", f"{start} to {end}: {count}"), x=_px(left + 0.5), y=_px(axes.y(count)),
                    width=_px(right - left - 1), height=_px(_BOTTOM - axes.y(count)), class_="bar")
            )  # fmt: skip
        words = f"{len(values)} values" + (f" from {min(values):.4g} to {max(values):.4g}" if values else "")
        shapes = [axes.draw(self.label, "count"), *bars, axes.point_out(self.mark)]
        return _Drawing(self.title, words, shapes, len(self.values) - len(values))


@dataclass(frozen=True, slots=True, repr=False)
class Scatter(_Chart):
    """One dot per point, darker where several fall on one place; the axes hold `x_within` and `y_within` at least."""

    title: str
    points: Sequence[Point]
    x_label: str
    y_label: str
    x_within: tuple[float, float] = (0, 0)
    y_within: tuple[float, float] = (0, 100)

    def _draw(self) -> _Drawing:
        points = [point for point in self.points if all(map(isfinite, point))]
        axes = _Axes(
            _range([*(x for x, _ in points), *self.x_within]), _range([*(y for _, y in points), *self.y_within])
        )
        places = Counter((round(axes.x(x) / _DOT) * _DOT, round(axes.y(y) / _DOT) * _DOT) for x, y in points)
        shades: defaultdict[int, list[str]] = defaultdict(list)
        for (x, y), count in sorted(places.items()):
            shades[min(count.bit_length(), 4)].append(f"M{x} {y}h0")
        dots = [tag("path", d="".join(path), class_=f"dot shade{shade}") for shade, path in sorted(shades.items())]
        shapes = [axes.draw(self.x_label, self.y_label), *dots]
        return _Drawing(self.title, f"{len(points)} points", shapes, len(self.points) - len(points))


@dataclass(frozen=True, slots=True, repr=False)
class Curve(_Chart):
    """Lines through points in their order, one per name and told apart by dashes too; a value that is none is a gap."""

    title: str
    series: Mapping[str, Sequence[Point]]
    x_label: str
    y_label: str
    mark: Mark | None = None

    def _draw(self) -> _Drawing:
        points = [point for line in self.series.values() for point in line]
        drawn = [point for point in points if all(map(isfinite, point))]
        axes = _Axes(_range(x for x, _ in drawn), _range(y for _, y in drawn))
        lines, key = [], []
        for index, (name, line) in enumerate(self.series.items()):
            look = {"class_": f"line line{index % 4}", "stroke_dasharray": _DASHES[(index + index // 4) % 4]}
            lines.append(tag("path", tag("title", name), d=_path(axes, line), **look))
            key.append((name, look))
        last = "; ".join(f"{name}: last {line[-1][1]:.4g}" for name, line in self.series.items() if line)
        shapes = [axes.draw(self.x_label, self.y_label), *lines, axes.point_out(self.mark)]
        return _Drawing(self.title, last or "no points", shapes, len(points) - len(drawn), key)


class Bar(NamedTuple):
    """A mean over `n` items, or another number, with the ends of its interval where there is one."""

    label: str
    value: float
    n: int | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Bars:
    """Means as bars with their intervals: a table, for names may be long and numbers are to be read."""

    title: str
    bars: Sequence[Bar]
    label: str
    within: tuple[float, float] = (0, 100)
    column: str = "mean"

    def to_html(self) -> Html:
        """The bars as a table; without a column for intervals and items where no bar has any."""
        counted = any(bar.n is not None for bar in self.bars)
        rows = [
            tag(
                "tr",
                tag("th", bar.label, scope="row", class_="left"),
                tag("td", f"{bar.value:.1f}"),
                tag("td", self._draw(bar), class_="barcell"),
                *([tag("td", _interval(bar)), tag("td", bar.n)] if counted else []),
            )
            for bar in self.bars
        ]
        names = (self.label, self.column, "", *(("95 %", "n") if counted else ()))
        head = tag(
            "tr", *(tag("th", name, scope="col", class_="" if index else "left") for index, name in enumerate(names))
        )
        table = tag("table", tag("caption", self.title), tag("thead", head), tag("tbody", *rows))
        return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=self.title)

    def _draw(self, bar: Bar) -> Html:
        shapes = self._shapes(bar, 0, 100, 0)
        return tag("svg", *shapes, viewBox="0 0 100 10", preserveAspectRatio="none", class_="meter", aria_hidden="true")

    def _repr_svg_(self) -> str:
        """Name, bar and number of each, below each other."""
        shapes: list[Html] = []
        names = min(_NAMES, 8 + _CELL * max((cell_len(bar.label) for bar in self.bars), default=0))
        for row, bar in enumerate(self.bars):
            y = 20 * row + 4
            numbers = f"{bar.value:.1f}" + (f" ({bar.interval[0]:.1f}–{bar.interval[1]:.1f})" if bar.interval else "")
            shapes += [
                tag("text", bar.label, x=_px(names - 6), y=y + 9, text_anchor="end"),
                *self._shapes(bar, names, WIDTH - _NUMBERS, y),
                tag("text", numbers, x=WIDTH - _NUMBERS + 8, y=y + 9),
            ]
        return picture(self.title, self._words(), shapes, height=20 * len(self.bars) + 8)

    def __repr__(self) -> str:
        return f"Bars({self.title}: {self._words()})"

    def _words(self) -> str:
        return "; ".join(f"{bar.label} {bar.value:.1f}" for bar in self.bars)

    def _shapes(self, bar: Bar, left: float, right: float, top: float) -> list[Html]:
        """A bar and its interval, ten units high."""
        shown = [end for bar in self.bars for end in (bar.value, *(bar.interval or ()))]
        low, high = _range([*shown, *self.within])

        def at(value: float) -> float:
            return left + (right - left) * (value - low) / (high - low)

        shapes = [tag("rect", x=_px(left), y=top + 2, width=_px(at(bar.value) - left), height=6, class_="bar")]
        if bar.interval:
            start, end = (_px(at(value)) for value in bar.interval)
            path = f"M{start} {top + 5}H{end}M{start} {top + 1}v8M{end} {top + 1}v8"
            shapes.append(tag("path", d=path, class_="whisker"))
        return shapes


def _interval(bar: Bar) -> str:
    return f"{bar.interval[0]:.1f}–{bar.interval[1]:.1f}" if bar.interval else "–"


class _Axes:
    """Maps values to the plane of a chart, and draws its frame."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (_RIGHT - _LEFT)

    def y(self, value: float) -> float:
        low, high = self._y
        return _BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP)

    def draw(self, x_label: str, y_label: str) -> Html:
        parts = []
        for value in _ticks(*self._y):
            y = self.y(value)
            parts.append(tag("path", d=f"M{_LEFT} {_px(y)}H{_RIGHT}", class_="grid"))
            parts.append(tag("text", f"{value:g}", x=_LEFT - 6, y=_px(y + 4), text_anchor="end"))
        for value in _ticks(*self._x):
            parts.append(tag("text", f"{value:g}", x=_px(self.x(value)), y=_BOTTOM + 16, text_anchor="middle"))
        parts.append(tag("path", d=f"M{_LEFT} {_BOTTOM}H{_RIGHT}", class_="axis"))
        parts.append(tag("text", x_label, x=(_LEFT + _RIGHT) / 2, y=HEIGHT - 8, text_anchor="middle"))
        parts.append(
            tag("text", y_label, transform=f"translate(12 {(_TOP + _BOTTOM) / 2})rotate(-90)", text_anchor="middle")
        )
        return tag("g", *parts, aria_hidden="true")

    def point_out(self, mark: Mark | None) -> Html:
        if mark is None or not self._x[0] <= mark.x <= self._x[1]:
            return html()
        x = self.x(mark.x)
        side, anchor = (5, "start") if x < (_LEFT + _RIGHT) / 2 else (-5, "end")
        return tag(
            "g",
            tag("path", d=f"M{_px(x)} {_TOP}V{_BOTTOM}", class_="mark"),
            tag("text", mark.label, x=_px(x + side), y=_TOP + 8, text_anchor=anchor, class_="marked"),
        )


def _path(axes: _Axes, points: Iterable[Point]) -> str:
    path, pen = [], "M"
    for x, y in points:
        if isfinite(x) and isfinite(y):
            path.append(f"{pen}{_px(axes.x(x))} {_px(axes.y(y))}" + ("h0" if pen == "M" else ""))  # alone, a dot
            pen = "L"
        else:
            pen = "M"
    return "".join(path)


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _range(values: Iterable[float]) -> tuple[float, float]:
    """The smallest and largest value, never the same."""
    found = list(values) or [0.0]
    low, high = min(found), max(found)
    margin = abs(low) / 2 or 0.5
    return (low, high) if low < high else (low - margin, high + margin)


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values within a range: multiples of 1, 2 or 5 times a power of ten, at most `most`."""
    power = 10.0 ** floor(log10((high - low) / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= most - 1)
    first, last = -floor(-low / step + 1e-9), floor(high / step + 1e-9)
    digits = max(0, -floor(log10(step)))
    return [round(index * step, digits) for index in range(first, last + 1)]
