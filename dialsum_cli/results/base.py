"""What every result is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticSerializationError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType


LEVEL = 0.05
"""A difference with a p-value of this or more may be chance: the two systems are tied."""


class Result(BaseModel):
    """A result: plain values, JSON by `to_json`, a data frame by `to_frame`.

    Notebooks and `rich.print` show its tables; `dialsum_cli.display`, which knows all results, is imported for that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @property
    def failed(self) -> bool:
        """Whether nothing of the work came out: the command then exits with 1."""
        return False

    table: ClassVar[str | None] = None
    """The field with the rows of its main table; None of a table with one row, the result itself."""

    def records(self) -> Iterable[BaseModel]:
        """The rows of the main table."""
        return [self] if self.table is None else getattr(self, self.table)

    def to_json(self) -> str:
        """One JSON document."""
        try:
            return self.model_dump_json(indent=2)
        except PydanticSerializationError:  # of a file whose name is no UTF-8, which JSON can hold only escaped
            return json.dumps(self.model_dump(), indent=2, default=str)

    def to_frame(self) -> Any:
        """The main table as a `pandas.DataFrame`, one row per record."""
        import pandas as pd

        return pd.json_normalize([record.model_dump(mode="json") for record in self.records()])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Its tables for Rich, as wide as the terminal allows."""
        from dialsum_cli.display import renderables

        yield from renderables(self, options.max_width)

    def _repr_html_(self) -> str:
        from dialsum_cli.display import as_html

        return as_html(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from dialsum_cli.display import as_text

        printer.text(as_text(self))


class DataFacts(Result):
    """Which data a number was measured on."""

    path: str
    sha256: str
    rows: int


class Scores(Result):
    """Corpus scores, 0-100 but `rouge_sum` (0-300)."""

    rouge1: float
    rouge2: float
    rougeL: float  # noqa: N815 - the metric's name
    final_score: float
    rouge_sum: float
    ci95: tuple[float, float]

    @classmethod
    def of(cls, measured: Any) -> Scores:
        """Those of something that has more than them."""
        return cls(**{name: getattr(measured, name) for name in cls.model_fields})


class Compared(Scores):
    """Scores beside those of another system on the same dialogues; None where there is nothing to compare."""

    difference: float | None = None
    """This final score minus the other one's, with its 95 % interval."""
    difference_ci95: tuple[float, float] | None = None
    p_value: float | None = None
    """Two-sided paired randomisation test; Holm-adjusted where several systems are compared."""
    p_value_unadjusted: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    tied: bool | None = None
    """Whether the difference may be chance: p >= 0.05."""
