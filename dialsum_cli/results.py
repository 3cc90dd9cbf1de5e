"""What the commands return, and how a workflow reports while it works."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

logger = logging.getLogger("dialsum")
logger.addHandler(logging.NullHandler())  # a run's log listens; what the terminal shows goes through the reporter


class Stage(Protocol):
    """One stretch of work whose progress is shown."""

    def advance(self, steps: int = 1) -> None:
        """Count steps that are done."""


class Reporter(Protocol):
    """What a workflow tells while it works; the terminal shows it, a notebook stays quiet."""

    def note(self, message: str) -> None:
        """Tell something that the user may want to know."""

    def warn(self, message: str) -> None:
        """Tell something that the user should act on."""

    def preview(self, result: "Result") -> None:
        """Show what the result will be, before it is."""

    def stage(self, title: str, total: int, unit: str) -> AbstractContextManager[Stage]:
        """Show the progress of `total` steps, counted in `unit`, until the context is left."""

    def confirm(self, question: str, flag: str) -> bool:
        """Ask before something that can't be undone; where nobody can answer, `flag` would have said yes.

        Raises:
            RequestError: where there is no terminal to ask on.
        """


class QuietReporter:
    """Reports to the log alone; says yes to nothing."""

    def note(self, message: str) -> None:
        """Log it."""
        logger.info(message)

    def warn(self, message: str) -> None:
        """Log it as a warning."""
        logger.warning(message)

    def preview(self, result: "Result") -> None:
        """Show nothing."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """Show no progress; log the start and the end."""
        logger.info("%s: %d %s", title, total, unit)
        yield _Silent()
        logger.info("%s: done", title)

    def confirm(self, question: str, flag: str) -> bool:
        """No: nobody was asked."""
        return False


class _Silent:
    def advance(self, steps: int = 1) -> None:
        """Show nothing."""


class Result(BaseModel):
    """A result: plain values, JSON by `model_dump_json`, a data frame by `to_frame`."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @property
    def failed(self) -> bool:
        """Whether nothing of the work came out: the command then exits with 1."""
        return False

    def records(self) -> Iterable[BaseModel]:
        """The rows of the result's main table."""
        return [self]

    def to_frame(self) -> Any:
        """The main table as a `pandas.DataFrame`, one row per record."""
        import pandas as pd

        return pd.DataFrame([record.model_dump() for record in self.records()])


class DataFacts(Result):
    """Which data a number was measured on."""

    path: str
    sha256: str
    rows: int


class LeaderboardRow(Result):
    """One model on the leaderboard; scores are 0-100 but `rouge_sum` (0-300), shares 0-1, times in seconds.

    What was not measured, because the model failed or a baseline has no such thing, is None.
    """

    rank: int | None
    model: str
    kind: Literal["causal", "seq2seq", "baseline"] | None
    parameters: int | None = None
    layers: int | None = None
    revision: str | None = None
    status: Literal["ok", "failed", "stopped"] = "ok"
    error: str | None = None
    rouge1: float | None = None
    rouge2: float | None = None
    rougeL: float | None = None  # noqa: N815 - the metric's name
    final_score: float | None = None
    rouge_sum: float | None = None
    ci95: tuple[float, float] | None = None
    below_baseline: bool = False
    korean_ratio: float | None = None
    tag_fidelity: float | None = None
    empty: int | None = None
    truncated: int | None = None
    prompts_truncated: int | None = None
    seconds: float | None = None
    dialogues_per_second: float | None = None
    precision: str | None = None


class ScreenResult(Result):
    """A leaderboard, with the signature of its metric and the data it was measured on."""

    leaderboard: list[LeaderboardRow]
    signature: str
    data: DataFacts
    run_dir: Path

    @property
    def failed(self) -> bool:
        """Whether every model failed; baselines don't count."""
        models = [row for row in self.leaderboard if row.kind != "baseline"]
        return bool(models) and all(row.status == "failed" for row in models)

    def records(self) -> Iterable[BaseModel]:
        """The leaderboard's rows, best first."""
        return self.leaderboard


class Scores(Result):
    """Corpus scores, 0-100 but `rouge_sum` (0-300)."""

    rouge1: float
    rouge2: float
    rougeL: float  # noqa: N815 - the metric's name
    final_score: float
    rouge_sum: float
    ci95: tuple[float, float]


class FinetuneRun(Result):
    """One fine-tuned model; times in seconds, scores on dev before and after."""

    model: str
    status: Literal["ok", "failed"] = "ok"
    error: str | None = None
    run_dir: Path | None = None
    trainer: Literal["seq2seq", "causal"] | None = None
    trainable_parameters: int | None = None
    train_seconds: float | None = None
    tokens_per_second: float | None = None
    best_step: int | None = None
    before: Scores | None = None
    after: Scores | None = None


class FinetuneResult(Result):
    """What became of each model."""

    runs: list[FinetuneRun]
    signature: str

    @property
    def failed(self) -> bool:
        """Whether no model could be fine-tuned."""
        return all(run.status == "failed" for run in self.runs)

    def records(self) -> Iterable[BaseModel]:
        """One row per model."""
        return self.runs


class PredictResult(Result):
    """A written submission."""

    output: Path
    rows: int
    seconds: float
    dialogues_per_second: float
    empty: int
    truncated: int
    prompts_truncated: int
    sha256: str
    run_dir: Path


class SystemScore(Scores):
    """The score of one prediction file; `n` rows, of which `empty` had no text and scored 0."""

    path: str
    n: int
    empty: int


class ScoreResult(Result):
    """The scores of prediction files against one gold file."""

    systems: list[SystemScore]
    signature: str
    floor: dict[str, float]

    def records(self) -> Iterable[BaseModel]:
        """One row per system."""
        return self.systems


class CachedModel(Result):
    """One repository in a cache: physical bytes, and why it goes or stays."""

    name: str
    bytes: int
    reason: str


class CacheCleanResult(Result):
    """What was deleted, or would be."""

    freed_bytes: int
    deleted: list[CachedModel]
    kept: list[CachedModel]
    dry_run: bool

    def records(self) -> Iterable[BaseModel]:
        """One row per repository."""
        return [*self.deleted, *self.kept]


class CatalogueRow(Result):
    """One model of the catalogue; parameters in billions."""

    name: str
    repository: str
    kind: str
    parameters: float | None
    layers: int | None
    licence: str
    note: str


class ModelsResult(Result):
    """The catalogue."""

    models: list[CatalogueRow]

    def records(self) -> Iterable[BaseModel]:
        """One row per model."""
        return self.models
