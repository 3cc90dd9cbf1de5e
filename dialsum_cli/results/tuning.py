"""What `dialsum tune` returns."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from dialsum_cli.results.base import DataFacts, Result, Scores


class TuneTrial(Result):
    """One trial; number 0 is the starting point."""

    stage: Literal["decoding", "training"]
    number: int
    status: Literal["ok", "pruned", "failed"]
    """`pruned`: memory ran out."""
    error: str | None = None
    final_score: float | None = None
    """On the dialogues that the search saw; None without a score."""
    options: dict[str, Any]
    """All options of the stage, those too that the search left alone."""


class TunedStage(Result):
    """What a stage of the search has found; the comparison is of the leading trial with the starting point."""

    stage: Literal["decoding", "training"]
    verdict: Literal["improvement", "no improvement"]
    """`improvement` where the leader is better by more than chance (p < 0.05) on dialogues that no trial has seen."""
    space: dict[str, Any]
    """What was tried: a list of values for each option, or a range."""
    trials: list[TuneTrial]
    leader: int
    """The trial with the highest score; 0 where none is above the starting point."""
    best: Path
    """Options for `--config` of `predict` or `finetune`: the leader's if it is an improvement, else the start's."""
    importances: dict[str, float]
    """Each option's share in being among the best trials (PED-ANOVA), adding up to 1; empty where it can't be told."""
    searched: int
    """Dialogues that the search saw."""
    held_out: int
    """Dialogues that decided."""
    before: Scores
    """Of the starting point, on the held-out dialogues; so are all that follow."""
    after: Scores
    """Of the leader."""
    gain: float
    """The leader's final score minus the starting point's, with its 95 % interval."""
    gain_ci95: tuple[float, float]
    p_value: float
    """Two-sided paired randomisation test."""
    wins: int
    ties: int
    losses: int
    model: Path | None = None
    """Run folder of the best trial's model; None for decoding, which changes no model."""


class TuneResult(Result):
    """A search, stage by stage."""

    model: str
    stages: list[TunedStage]
    signature: str
    """Of the scores that decide."""
    data: DataFacts
    report: Path
    run_dir: Path

    def records(self) -> Iterable[BaseModel]:
        """One row per trial."""
        return [trial for stage in self.stages for trial in stage.trials]
