"""Columns and rows, laid out for a terminal or a page; knows no result."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.table import Table as RichTable
from rich.text import Text

from dialsum_cli.markup import Html, html, readable, tag

FOLD = 22  # cells that a text column keeps at least
PADDING = 3


@dataclass(frozen=True, slots=True)
class Column:
    """A column; the lowest `weight` is left out first where the terminal is narrow (0: never)."""

    header: str
    justify: Literal["left", "right"] = "right"
    weight: int = 0


@dataclass(slots=True)
class Table:
    """Cells as text, each row with the style in which it is shown; a text column folds before another is left out."""

    columns: Sequence[Column]
    title: str = ""
    caption: str = ""  # below the table, not folded to its width: a signature is there to be copied
    rows: list[tuple[list[str], str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)  # lines below the table that no column could hold

    def add(self, *cells: object, style: str = "") -> None:
        """Add a row; None is shown as a dash."""
        self.rows.append((["–" if cell is None else readable(cell) for cell in cells], style))

    @property
    def shown(self) -> bool:
        """Whether there is a table to show, and not its notes alone."""
        return bool(self.rows or not self.notes)

    def fitting(self, width: int) -> list[int]:
        """The indices of the columns that fit into `width` cells."""
        shown = list(range(len(self.columns)))

        def needed(index: int) -> int:
            texts = [self.columns[index].header, *(row[index] for row, _ in self.rows)]
            longest = max(cell_len(line) for text in texts for line in text.split("\n"))
            return min(longest, FOLD) if self.columns[index].justify == "left" else longest

        while sum(needed(index) + PADDING for index in shown) > width:
            droppable = [i for i in shown if self.columns[i].weight]
            if not droppable:
                break
            shown.remove(min(droppable, key=lambda i: self.columns[i].weight))
        return shown

    def left_out(self, width: int) -> list[str]:
        """The headers of the columns that don't."""
        shown = self.fitting(width)
        return [column.header for index, column in enumerate(self.columns) if index not in shown]

    def to_rich(self, width: int) -> RichTable:
        """The table for a terminal of `width` cells."""
        shown = self.fitting(width)
        table = RichTable(
            title=Text(self.title, "bold") if self.title else None,
            title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, expand=False,
        )  # fmt: skip
        for index in shown:
            column = self.columns[index]
            table.add_column(
                Text(readable(column.header)),
                justify=column.justify,
                overflow="fold",
                no_wrap=column.justify == "right",
            )
        for cells, style in self.rows:
            table.add_row(*(Text(cells[index]) for index in shown), style=style)
        return table

    def to_html(self) -> Html:
        """The table with all its columns, in a box of its own that scrolls; a row's style is its class."""
        head = tag("tr", *(tag("th", column.header, scope="col", class_=column.justify) for column in self.columns))
        body = [
            tag(
                "tr",
                *(tag("td", cell, class_=column.justify) for cell, column in zip(cells, self.columns, strict=True)),
                class_=style or None,
            )
            for cells, style in self.rows
        ]
        title = [tag("caption", self.title)] if self.title else []
        table = tag("table", *title, tag("thead", head), tag("tbody", *body))
        box = tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=self.title or "Table")
        return html(box, tag("p", self.caption, class_="caption") if self.caption else "")
