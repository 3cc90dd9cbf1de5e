"""What `dialsum finetune` returns, and what it tells before the first step."""

from collections.abc import Iterable
from math import ceil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from dialsum_cli.results.base import Result, Scores
from dialsum_cli.results.predicting import Finding


class ShownRow(Result):
    """One row of a training batch: text that is given, and text that is trained, special tokens included.

    `labels` are -100 wherever nothing is trained; for an encoder-decoder they are the decoder's, else those of
    `input_ids`.
    """

    fname: str
    given: str
    trained: str
    padding: int
    """Tokens that only fill the row up."""
    input_ids: list[int]
    labels: list[int]


class ShownBatch(Result):
    """The first batch that a model would be trained on."""

    model: str
    rows: list[ShownRow]


class BatchesResult(Result):
    """What the models would be trained on."""

    batches: list[ShownBatch]

    def records(self) -> Iterable[BaseModel]:
        """One row per model and example."""
        return [row for batch in self.batches for row in batch.rows]


class TrainingPlan(Result):
    """What a training will take, measured before its first step; times in minutes, evaluations aside."""

    model: str
    method: str
    precision: str
    trainable_parameters: int
    examples: int
    steps: int
    micro_batch_tokens: int
    """Tokens that are computed at once."""
    gradient_checkpointing: bool
    memory_bytes: int | None
    """At the peak, on the device; None on a CPU."""
    minutes_an_epoch: float
    minutes: float
    """Of all epochs; early stopping may end before."""
    disk_bytes: int
    """Of all checkpoints that are there at once."""
    processes: int = 1
    """Of the launch; each computes its share of every step."""


class FinetuneRun(Result):
    """One fine-tuned model; times in seconds, scores on dev before and after.

    `best_step` is None where the last step was kept without a choice; `peak_memory_gib` is None on a CPU.
    """

    model: str
    status: Literal["ok", "failed"] = "ok"
    error: str | None = None
    run_dir: Path | None = None
    trainer: Literal["seq2seq", "causal"] | None = None
    trainable_parameters: int | None = None
    train_seconds: float | None = None
    tokens_per_second: float | None = None
    peak_memory_gib: float | None = None
    best_step: int | None = None
    evaluations: int | None = None
    """That the weights were chosen by."""
    precision: str | None = None
    plan: TrainingPlan | None = None
    before: Scores | None = None
    after: Scores | None = None
    gain: float | None = None
    """`after` minus `before`, with its 95 % interval; the weights that were kept are the best on these dialogues."""
    gain_ci95: tuple[float, float] | None = None
    p_value: float | None = None
    """Two-sided paired randomisation test."""
    wins: int | None = None
    """Dialogues whose summary scores higher after training."""
    ties: int | None = None
    losses: int | None = None


class FinetuneResult(Result):
    """What became of each model; `floor`: the final score, on the same dialogues, of what needs no model."""

    table = "runs"

    runs: list[FinetuneRun]
    signature: str
    floor: dict[str, float]

    @property
    def failed(self) -> bool:
        """Whether no model could be fine-tuned."""
        return all(run.status == "failed" for run in self.runs)


class TokenLengths(Result):
    """How long texts are, in tokens: percentiles by nearest rank, the longest, and how many are over a limit."""

    what: str
    texts: int
    p50: int
    p90: int
    p99: int
    max: int
    limit: int | None
    over: int

    @classmethod
    def of(cls, what: str, counts: Iterable[int], limit: int | None) -> "TokenLengths":
        """The lengths of so many tokens each."""
        ranked = sorted(counts)
        p50, p90, p99, most = (ranked[ceil(share * len(ranked)) - 1] for share in (0.5, 0.9, 0.99, 1.0))
        over = 0 if limit is None else sum(count > limit for count in ranked)
        return cls(what=what, texts=len(ranked), p50=p50, p90=p90, p99=p99, max=most, limit=limit, over=over)


class LengthsResult(Result):
    """What a model's limits mean for the data: its prompts are shortened to theirs, its summaries end at theirs."""

    table = "lengths"

    model: str
    lengths: list[TokenLengths]


class DataCheckResult(Result):
    """What is to be known about training data before the first step."""

    table = "findings"

    findings: list[Finding]
