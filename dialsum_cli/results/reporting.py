"""What `dialsum report` returns."""

from pathlib import Path
from typing import Any, Literal

from dialsum_cli.results.base import Compared, DataFacts, Result


class ReportedRun(Result):
    """A run as its folder tells of it.

    Attributes:
        created: when, as its provenance says; of a run without any, when its settings were written.
        model: the best system, baselines aside; of a run without scores, the models that its settings name.
        systems: how many were scored, baselines aside; `final_score` and `ci95` are those of the best.
        settings: its options by name, resolved.
    """

    folder: Path
    command: Literal["screen", "finetune", "predict", "tune"]
    finished: bool
    created: str
    model: str
    systems: int
    data: DataFacts | None
    final_score: float | None
    ci95: tuple[float, float] | None
    settings: dict[str, Any]


class ReportedSystem(Compared):
    """A system's scores; the comparison with the best one of the same `data` is None where nothing can be compared."""

    run: Path
    model: str
    baseline: bool
    data: str
    """What it was measured on, in words; scores compare where these are the same."""
    rows: int


class ReportResult(Result):
    """The runs and what can be said of them side by side; `notes` tell what can't."""

    table = "runs"

    output: Path
    markdown: Path | None
    runs: list[ReportedRun]
    systems: list[ReportedSystem]
    """By what they were measured on, the best first."""
    notes: list[str]
