"""One page of HTML that needs nothing but itself: sections of text, tables, charts and marked differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, Protocol

from dialsum_cli.markup import Html, html, tag

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Keeps the browser from loading or running anything, should a text ever get past the escaping."""

Mark = Literal["", "common", "missing", "extra"]
_ELEMENTS = {"common": "span", "missing": "del", "extra": "ins"}  # told apart without colours, and by screen readers
_KEY: tuple[tuple[str, Mark], ...] = (
    ("in common", "common"),
    ("only in the reference", "missing"),
    ("only in the prediction", "extra"),
)


class Block(Protocol):
    """Anything that can stand on a page."""

    def to_html(self) -> Html:
        """The block as markup."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A few sentences."""

    text: str

    def to_html(self) -> Html:
        """The paragraph."""
        return tag("p", self.text)


@dataclass(frozen=True, slots=True)
class Grid:
    """Blocks beside each other where the screen is wide enough."""

    blocks: Sequence[Block]

    def to_html(self) -> Html:
        """The blocks in their order."""
        return tag("div", *(block.to_html() for block in self.blocks), class_="columns")


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with their values, such as settings."""

    rows: Sequence[tuple[str, object]]

    def to_html(self) -> Html:
        """A list of definitions."""
        return tag("dl", *(html(tag("dt", name), tag("dd", value)) for name, value in self.rows))


@dataclass(frozen=True, slots=True)
class Difference:
    """Texts below each other, each in pieces that are marked; `context` can be unfolded."""

    title: str
    texts: Sequence[tuple[str, Sequence[tuple[str, Mark]]]]
    note: str = ""
    context: str = ""

    def to_html(self) -> Html:
        """A card."""
        texts = [html(tag("dt", name), tag("dd", *_marked(pieces), lang="ko")) for name, pieces in self.texts]
        folded = tag("details", tag("summary", "Dialogue"), tag("p", self.context, lang="ko")) if self.context else ""
        return tag(
            "article", tag("h3", self.title), tag("p", self.note, class_="caption") if self.note else "",
            tag("dl", *texts), folded, class_="difference",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Differences:
    """Several differences, with the key to their marks."""

    differences: Sequence[Difference]

    def to_html(self) -> Html:
        """The key, then the cards."""
        key = tag("ul", *(tag("li", *_marked([piece])) for piece in _KEY), class_="key")
        return html(key, *(difference.to_html() for difference in self.differences))


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]

    def to_html(self) -> Html:
        """The section."""
        return tag("section", tag("h2", self.title), *(block.to_html() for block in self.blocks))


@dataclass(frozen=True, slots=True)
class Page:
    """A report; its `footer` says where it comes from."""

    title: str
    sections: Sequence[Section]
    footer: Sequence[Block] = ()


def render(page: Page) -> str:
    """The page as one HTML document in UTF-8: no script, no address, readable from disk, on a phone and in the dark."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", page.title),
        tag("style", Html(style)),
    )
    footer = tag("footer", *(block.to_html() for block in page.footer)) if page.footer else ""
    main = tag("main", tag("h1", page.title), *(section.to_html() for section in page.sections), footer)
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', main), lang='en')}\n"


def _marked(pieces: Iterable[tuple[str, Mark]]) -> Iterator[Html]:
    """Neighbours with one mark become one element; the blanks before it stay outside."""
    for mark, group in groupby(pieces, key=lambda piece: piece[1]):
        text = "".join(piece[0] for piece in group)
        bare = text.lstrip()
        yield html(text[: len(text) - len(bare)], tag(_ELEMENTS[mark], bare, class_=mark) if mark and bare else bare)
