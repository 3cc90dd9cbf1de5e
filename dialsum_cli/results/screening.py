"""What `dialsum screen` returns, and what shows prompts."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from dialsum_cli.results.base import DataFacts, Result


class LeaderboardRow(Result):
    """One model on the leaderboard; scores are 0-100 but `rouge_sum` (0-300), shares 0-1, times in seconds.

    What was not measured, because the model failed or a baseline has no such thing, is None. A model that was stopped
    has no scores: those of a part would stand beside those of the whole.
    """

    rank: int | None
    model: str
    kind: Literal["causal", "seq2seq", "baseline", "api"] | None
    parameters: int | None = None
    layers: int | None = None
    revision: str | None = None
    prompt: str | None = None
    """Its name; `plain` for a model without a chat template, None for an encoder-decoder, which is asked nothing."""
    status: Literal["ok", "failed", "stopped"] = "ok"
    error: str | None = None
    rouge1: float | None = None
    rouge2: float | None = None
    rougeL: float | None = None  # noqa: N815 - the metric's name
    final_score: float | None = None
    rouge_sum: float | None = None
    ci95: tuple[float, float] | None = None
    below_baseline: bool = False
    """Scores below the best baseline."""
    tied_with_best: bool | None = None
    """Can't be told from rank 1 (paired randomisation test over the dialogues, Holm, 5 %); rank 1 itself is."""
    korean_ratio: float | None = None
    tag_fidelity: float | None = None
    empty: int | None = None
    truncated: int | None = None
    prompts_truncated: int | None = None
    summaries: int | None = None
    """How many there are: fewer than dialogues where the model was stopped."""
    seconds: float | None = None
    """Of generation, loading aside; a summary that an earlier run made counts with the time that it took then."""
    dialogues_per_second: float | None = None
    estimated_seconds: float | None = None
    """What `seconds` was expected to become, told after this run's second batch; None where there was none."""
    peak_memory_gib: float | None = None
    """The most device memory in use at once, weights included; None on a CPU, which has no such number for a model."""
    batch_tokens: int | None = None
    """Tokens that a batch could hold in the end: smaller than `--batch-tokens` where memory ran out."""
    prompt_tokens: int | None = None
    """Of all prompts, as a server counted them; None where there is no server, or it doesn't count."""
    summary_tokens: int | None = None
    """The same of the summaries, thoughts included."""
    precision: str | None = None
    decoding: Literal["graph", "eager", "generate"] | None = None
    """How it wrote: captured steps on a GPU, the same steps on a CPU, or transformers' own loop (beams, BART, T5)."""


class PreflightRow(Result):
    """What a model will need; None where it can't be told."""

    model: str
    parameters: int | None = None
    layers: int | None = None
    precision: str | None = None
    download_bytes: int | None = None
    """Still to be downloaded."""
    memory_bytes: int | None = None
    """On the device at the peak of a full batch."""
    note: str = ""
    """Why it can't run as it is; empty where nothing is known to be in the way."""


class PreflightResult(Result):
    """What the models of a screening will need, before the first is loaded."""

    table = "models"

    models: list[PreflightRow]


class ScreenResult(Result):
    """A leaderboard, with the signature of its metric and the data it was measured on."""

    table = "leaderboard"

    leaderboard: list[LeaderboardRow]
    signature: str
    data: DataFacts
    run_dir: Path

    @property
    def failed(self) -> bool:
        """Whether every model failed; baselines don't count."""
        models = [row for row in self.leaderboard if row.kind != "baseline"]
        return bool(models) and all(row.status == "failed" for row in models)


class ShownPrompt(Result):
    """What a model is given for one dialogue.

    Attributes:
        prompt: the prompt's name, `plain` where the model has no chat template; None for an encoder-decoder.
        text: what the ids say, control tokens included.
        ids: the token ids, exactly as the model gets them.
        control_ids: those among them that no dialogue can write.
        marked: text and ids with the control tokens as `⟦<s>⟧`, for people.
        shortened: whether something of the dialogue was left out.
    """

    model: str
    prompt: str | None
    text: str
    ids: list[int]
    control_ids: list[int]
    marked: str = Field(exclude=True)
    shortened: bool


class PromptsResult(Result):
    """The first dialogue as each model gets it."""

    table = "prompts"

    prompts: list[ShownPrompt]
