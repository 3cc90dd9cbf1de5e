"""What the commands return."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SkipValidation


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

        return pd.json_normalize([record.model_dump(mode="json") for record in self.records()])


class DataFacts(Result):
    """Which data a number was measured on."""

    path: str
    sha256: str
    rows: int


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

    models: list[PreflightRow]

    def records(self) -> Iterable[BaseModel]:
        """One row per model."""
        return self.models


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

    prompts: list[ShownPrompt]

    def records(self) -> Iterable[BaseModel]:
        """One row per model."""
        return self.prompts


class Scores(Result):
    """Corpus scores, 0-100 but `rouge_sum` (0-300)."""

    rouge1: float
    rouge2: float
    rougeL: float  # noqa: N815 - the metric's name
    final_score: float
    rouge_sum: float
    ci95: tuple[float, float]


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
    precision: str | None = None
    plan: TrainingPlan | None = None
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


class Finding(Result):
    """One thing that is wrong with a submission, or odd in it.

    Attributes:
        check: its name, as `missing_ids`.
        kind: a fault makes the submission unfit; a warning doesn't.
        rows: how many rows it was found in.
        examples: the first of them, by line and `fname`.
        remedy: what to do about it.
    """

    check: str
    kind: Literal["fault", "warning"]
    what: str
    rows: int
    examples: list[str]
    remedy: str


class CheckResult(Result):
    """Whether a submission is fit to be handed in; lengths are mean characters of a summary."""

    submission: Path
    data: str
    rows: int
    fit: bool
    length: float | None
    train_length: float | None
    """Of the training summaries; None without `--train`."""
    findings: list[Finding]
    """Faults first."""

    @property
    def failed(self) -> bool:
        """Whether it has a fault."""
        return not self.fit

    def records(self) -> Iterable[BaseModel]:
        """One row per finding."""
        return self.findings


class PredictResult(Result):
    """A written submission."""

    output: Path
    data: str
    rows: int
    seconds: float
    dialogues_per_second: float
    empty: int
    truncated: int
    prompts_truncated: int
    """Dialogues that were shortened to fit into the model."""
    chunked: int
    """Dialogues that were summarised in parts."""
    sha256: str
    run_dir: Path
    check: CheckResult
    samples: list[Path] = []
    """Files with all samples, where they were kept."""


class Diagnostics(Result):
    """What a system's summaries are like, which their score doesn't tell; counts are of rows, shares are 0-1.

    What only the dialogues can tell is None where there are none.
    """

    empty: int
    """Without a word; they score 0."""
    length_ratio: float
    """Mean of a summary's characters over those of its reference (the mean of several), blanks left out."""
    repetition_rate: float
    """Mean share of a summary's eojeol trigrams that stood in it before: ROUGE's sets don't see them."""
    tag_fidelity: float | None
    """Mean share of a summary's speaker tags that its dialogue has."""
    unknown_tags: int | None
    """With a tag that neither the dialogue nor a reference has."""
    lost_tags: int
    """Without a tag that every reference has."""
    broken_tags: int
    """With something that looks like a tag and is none: `#Person1`, `#사람1#`."""
    broken_characters: int
    """With U+FFFD, which decoders write for bytes that are no character."""
    korean_ratio: float | None
    """Mean share of the letters, tags and words copied from the dialogue aside, that are Hangul."""
    foreign_scripts: dict[str, int] | None
    """Letters of each other script, tags and words copied from the dialogue aside."""
    cut_off: int
    """Not ended as a sentence ends."""
    speaker_swaps: int
    """Scoring better once #Person1# and #Person2# are exchanged."""
    unsupported_names: int | None
    """With a proper noun that its dialogue doesn't have; Mecab alone knows them."""
    unsupported_numbers: int | None
    """With a number in digits that its dialogue doesn't have."""


class Piece(NamedTuple):
    """A morpheme as it stands in its text, with the blanks before it; periods count for nothing and have no mark."""

    text: str
    mark: Literal["common", "missing", "extra", ""]


class WorstCase(Result):
    """One of a system's lowest scores, against the reference that it comes closest to, morpheme by morpheme."""

    index: int
    """The row's place in the gold file, from 0."""
    reference_number: int = 1
    """Which of the row's references, from 1."""
    fname: str
    final_score: float
    reference: list[Piece]
    summary: list[Piece]


class SystemScore(Scores):
    """The score of one prediction file; the comparison is with the first file, whose own fields for it are None."""

    path: str
    n: int
    empty: int
    """Predictions without a word: they count, with 0."""
    empty_fnames: list[str]
    by_refs: dict[str, float]
    """The final score by each way to combine references; one way where there is one reference."""
    diagnostics: Diagnostics
    difference: float | None = None
    """This final score minus the first file's, with its 95 % interval."""
    difference_ci95: tuple[float, float] | None = None
    p_value: float | None = None
    """Two-sided paired randomisation test; Holm-adjusted where there are more than two files."""
    p_value_unadjusted: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    tied: bool | None = None
    """Whether the difference may be chance: p >= 0.05."""
    worst: list[WorstCase] = []
    """As many as were asked for, the lowest score first."""


@dataclass(frozen=True, slots=True)
class SystemItems:
    """One system's summaries and their scores (0-100), row by row."""

    summaries: Sequence[str]
    rouge1: Sequence[float]
    rouge2: Sequence[float]
    rougeL: Sequence[float]  # noqa: N815 - the metric's name
    final_score: Sequence[float]
    worst: Sequence[WorstCase]
    """The lowest scores, as many as the page shows at least."""


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """What the means of a `ScoreResult` were made of, row by row in the order of the gold; no part of the JSON."""

    fnames: Sequence[str]
    dialogues: Sequence[str]
    """"" where there are no dialogues."""
    topics: Sequence[str]
    """"" where the gold file has no topic."""
    references: Sequence[Sequence[str]]
    systems: Sequence[SystemItems]
    """In the order of `ScoreResult.systems`."""


class Verification(Result):
    """Pairs that were scored again by the package `rouge`, all equal; on some it raises and has no score."""

    pairs: int
    raised: int


class ScoreResult(Result):
    """The scores of prediction files against one gold."""

    systems: list[SystemScore]
    signature: str
    floor: dict[str, float]
    """Final scores of what knows nothing of a dialogue: any system has to be above."""
    ceiling: dict[str, float]
    """Final scores of each reference against the other ones; empty where there is one reference."""
    tokenizer: str
    refs: Literal["mean", "best"]
    references: int
    """References of each row."""
    verification: Verification | None = None
    files: list[Path] = []
    """Files that were written."""
    items: Annotated[SkipValidation[ScoredItems | None], Field(exclude=True, repr=False)] = None

    def records(self) -> Iterable[BaseModel]:
        """One row per system."""
        return self.systems


class EnsembleSystem(Result):
    """One of the systems among whose summaries was chosen; without a gold, it has no score."""

    path: str
    weight: float
    """What its vote counted."""
    chosen: int
    """Rows whose summary is its own; of several that wrote the same one, the best system's."""
    same: int
    """Rows whose summary it wrote, alone or as others did."""
    empty: int
    left_out: int
    """Rows in which its summary was left out because of its length."""
    agreement: list[float]
    """Mean `final_score` of its summaries with each system's as the reference, itself included, in their order."""
    family: int
    """Systems of one number agree so much that their votes are hardly more than one."""
    final_score: float | None = None
    ci95: tuple[float, float] | None = None


class EnsembleResult(Result):
    """An ensemble's file, and whether it is worth it; the comparison is with the best single system."""

    output: Path
    rows: int
    sha256: str
    verdict: Literal["ensemble", "do not ensemble", "unknown"]
    """`ensemble` where the gain is more than chance (p < 0.05); `unknown` without a gold."""
    systems: list[EnsembleSystem]
    decided_by_order: int
    """Rows in which several summaries had the highest expected utility, so that the better system decided."""
    left_out: int
    """Summaries that were left out because of their length."""
    score: Scores | None = None
    """Of the ensemble."""
    best: str | None = None
    """The best single system."""
    gain: float | None = None
    """The ensemble's final score minus that of the best single system, with its 95 % interval."""
    gain_ci95: tuple[float, float] | None = None
    p_value: float | None = None
    """Two-sided paired randomisation test."""
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    signature: str | None = None

    def records(self) -> Iterable[BaseModel]:
        """One row per system."""
        return self.systems


class DataFinding(Result):
    """Something about training data that the user should act on, or look at.

    Attributes:
        check: what was looked for: `duplicate`, `leak`, `near_leak`, `empty_summary`, `short_summary`, `long_summary`
            or `unknown_tag`.
        what: what was found, in words; `count` of these.
        examples: the first few, by `fname`.
        advice: what it does, and what to do.
    """

    check: str
    severity: Literal["warning", "note"]
    what: str
    count: int
    examples: list[str]
    advice: str


class TokenLengths(Result):
    """How long texts are, in tokens: percentiles, the longest, and how many a limit cuts (None: there is none)."""

    what: str
    texts: int
    p50: int
    p90: int
    p99: int
    max: int
    limit: int | None
    cut: int | None


class DataCheckResult(Result):
    """What is to be known about training data before the first step; `train` and `dev` are numbers of dialogues."""

    train: int
    dev: int
    findings: list[DataFinding]
    lengths: list[TokenLengths]

    def records(self) -> Iterable[BaseModel]:
        """One row per finding."""
        return self.findings


class CachedModel(Result):
    """One thing in a cache.

    Attributes:
        cache: which: `hub` holds models, `hub-data` the hub's data sets, and so on.
        bytes: allocated on disk: those that its deletion frees, or that it takes where it stays.
        reason: why it goes or stays.
        undeletable: whether it stays only because it could not be deleted.
    """

    cache: str
    name: str
    bytes: int
    reason: str
    undeletable: bool = False


class CacheCleanResult(Result):
    """What was deleted, or would be; `freed_bytes` as the file system counts."""

    freed_bytes: int
    deleted: list[CachedModel]
    kept: list[CachedModel]
    dry_run: bool

    @property
    def failed(self) -> bool:
        """Whether nothing could be deleted that was to go."""
        return not self.deleted and any(row.undeletable for row in self.kept)

    def records(self) -> Iterable[BaseModel]:
        """One row per thing."""
        return [*self.deleted, *self.kept]


class CatalogueRow(Result):
    """One model of the catalogue; what it doesn't know is None.

    Attributes:
        nickname: as experiment tracking shows it.
        layers: decoder layers.
        dtype: the number format in which it was trained.
        gated: whether its owner has to grant access.
        recipe: how it is fine-tuned unless options say otherwise.
    """

    name: str
    nickname: str
    repository: str
    revision: str | None
    kind: str
    family: str
    parameters: int | None
    layers: int | None
    dtype: str | None
    licence: str
    gated: bool | None
    note: str
    recipe: dict[str, Any] | None


class ModelsResult(Result):
    """The catalogue."""

    models: list[CatalogueRow]

    def records(self) -> Iterable[BaseModel]:
        """One row per model."""
        return self.models
