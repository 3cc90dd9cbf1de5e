"""Options that several commands share."""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from dialsum_cli import registry
from dialsum_cli.settings.base import Settings
from dialsum_cli.settings.values import BUNDLED, Columns, Precision, Project, Server, Size


class DataSettings(Settings):
    """Which dialogues."""

    data: str = str(BUNDLED / "dev.csv")
    """Dialogues: a CSV, JSONL or Parquet file, or owner/name:split of the hub."""

    columns: Columns = {}
    """Names of the columns where they differ from ours, as in fname=id,dialogue=text."""

    limit: int | None = Field(None, ge=1)
    """Use only the first N dialogues."""


class ModelSettings(Settings):
    """How models are loaded."""

    precision: Precision = "auto"
    """Number format of the weights; auto is the catalogue's choice where the machine has it."""


class GenerationSettings(Settings):
    """How summaries are generated."""

    prompt: str = "korean"
    """Korean prompt for chat models: a name (korean, short), or a YAML file."""

    block_foreign: bool | None = None
    """Write nothing but Korean and words of the dialogue; by default on, but off for encoder-decoder models."""

    max_new_tokens: int = Field(160, ge=1)
    """Longest summary, in tokens."""

    num_beams: int = Field(1, ge=1)
    """Beams of the beam search; 1 is greedy decoding."""

    length_penalty: float = 1.0
    """Above 0, beams favour longer summaries, and the more the larger it is; it means nothing without beams."""

    no_repeat_ngram_size: int = Field(0, ge=0)
    """Never repeat an n-gram of this many tokens; 0 allows it. It breaks tags that a model writes in several tokens."""

    batch_tokens: int | None = Field(None, ge=1)
    """Tokens a batch may hold, padding and summaries included. [default: what fits into free memory]"""


class SamplingSettings(Settings):
    """How samples are drawn from a model."""

    num_samples: int | None = Field(None, ge=1)
    """Draw so many summaries of each dialogue, and keep the one that the others agree with most (MBR)."""

    temperature: float = Field(1.0, gt=0)
    """How freely samples are drawn: below 1 the likely tokens become likelier."""

    top_p: float = Field(1.0, gt=0, le=1)
    """Draw samples from the likeliest tokens that have this probability together."""


class SummarizerSettings(ModelSettings, GenerationSettings):
    """What makes a summarizer of a name."""


class EngineSettings(SummarizerSettings):
    """What runs the model, and how a server is asked."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)  # a URL may hold a password

    engine: Literal["auto", "hf", "vllm", "openai"] = "auto"
    """transformers (hf) or vLLM here, or a server that speaks OpenAI's API; auto is hf, or openai with --base-url."""

    base_url: Server = None
    """Where the server listens, as in http://host:8000/v1; the variable OPENAI_API_KEY holds its key."""

    api_model: str | None = Field(None, min_length=1)
    """The model's name at the server."""

    concurrency: int = Field(8, ge=1)
    """Requests that a server works on at once."""

    requests_per_minute: float | None = Field(None, gt=0)
    """Start no more requests than this, failed ones included; without it there is no limit."""

    request_timeout: float = Field(120, gt=0)
    """Seconds after which a request without an answer has failed."""

    max_retries: int = Field(8, ge=0)
    """How often a request that failed is tried again, after a longer pause each time."""

    @property
    def served(self) -> bool:
        """Whether a server is asked."""
        return self.engine == "openai" or (self.engine == "auto" and bool(self.base_url or self.api_model))


class RunSettings(Settings):
    """What every run folder needs to know."""

    seed: int = Field(42, ge=0)
    """Decides every random choice."""


class TrackingSettings(Settings):
    """Experiment tracking with Weights & Biases."""

    wandb: Literal["off", "offline", "online"] = "off"
    """Track the run: offline keeps it in a file that `wandb sync` uploads, online needs `wandb login`."""

    wandb_project: Project = "dialsum"
    """Project of the tracked run."""

    wandb_log_text: bool = False
    """Track dialogues and summaries as well, which then leave this machine; without it, nothing but numbers."""


class DiskSettings(Settings):
    """What downloads may do to the disk."""

    delete_cache: bool = False
    """Delete what this run has downloaded of a model once the model is done; what was there before stays."""

    disk_limit: Size | None = None
    """Refuse a download after which caches and runs would take more than this, as in 80GB."""


class RecipeSettings(Settings):
    """How a model is trained; what is not given is as the model's recipe says (`dialsum models NAME` shows it)."""

    method: registry.Method | None = None
    """full trains all weights, lora an adapter, qlora an adapter on 4-bit weights; auto is lora where memory allows."""

    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate."""

    num_epochs: float | None = Field(None, gt=0)
    """Passes over the training data."""

    batch_size: int | None = Field(None, ge=1)
    """Rows per optimizer step; how many of them are computed at once is another matter."""

    scheduler: Literal["constant", "constant_with_warmup", "linear", "cosine"] | None = None
    """How the learning rate goes on after the warm-up."""

    warmup_ratio: float | None = Field(None, ge=0, lt=1)
    """Share of all steps in which the learning rate rises."""

    optimizer: Literal["adamw_torch", "paged_adamw_32bit", "paged_adamw_8bit"] | None = None
    """What turns gradients into steps."""

    max_grad_norm: float | None = Field(None, ge=0)
    """Longer gradients are cut to this; 0 cuts none."""

    weight_decay: float | None = Field(None, ge=0)
    """Weight decay."""

    label_smoothing: float | None = Field(None, ge=0, lt=1)
    """Share of each target that is spread over the vocabulary."""

    lora_r: int | None = Field(None, ge=1)
    """Rank of the adapter."""

    lora_alpha: int | None = Field(None, ge=1)
    """Weight of the adapter, times its rank."""

    lora_dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout before the adapter."""

    patience: int | None = Field(None, ge=1)
    """Stop after this many evaluations without a better final_score."""


class TrainingSettings(Settings):
    """How training is watched, kept and fitted into memory."""

    eval_steps: int | None = Field(None, ge=1)
    """Optimizer steps between evaluations on dev. [default: an epoch]"""

    eval_limit: int | None = Field(None, ge=1)
    """Evaluate on the first N dev dialogues only; before and after are measured on all."""

    keep_checkpoints: int = Field(2, ge=1)
    """Checkpoints to keep; the best and the last one always stay."""

    checkpoint_minutes: float = Field(15, gt=0)
    """Minutes between checkpoints; there is one at every evaluation as well."""

    micro_batch_tokens: int = Field(16_384, ge=1)
    """Tokens that are computed at once, padding included; smaller where memory asks for it."""

    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Compute twice what would be kept in memory; auto does so where memory asks for it."""
