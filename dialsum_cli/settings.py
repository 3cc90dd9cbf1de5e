"""Every option of every command, declared once: flags, YAML keys and environment variables derive from here."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from dialsum_cli import registry
from dialsum_cli.errors import RequestError

BUNDLED = Path(__file__).parent / "data" / "bundled"
ENV_PREFIX = "DIALSUM_"
CACHES = ("hub", "leftovers", "xet", "datasets", "wandb", "inductor", "triton")
CACHES_IF_ASKED = ("hub-data", "wandb-staging", "uv", "pip", "checkpoints")
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


class Positional:
    """Marks a field that is given by position on the command line."""


def _items(value: object) -> object:
    """Split comma-separated text, on its own or as items of a list, so that flag, environment and YAML agree."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return value
    parts = [part for item in value for part in (item.split(",") if isinstance(item, str) else [item])]
    stripped = [part.strip() if isinstance(part, str) else part for part in parts]
    return [part for part in stripped if part != ""]


def _listed(value: object) -> object:
    """A path on its own, as a variable or a YAML file may give it, as a list of one."""
    return [value] if isinstance(value, str | Path) else value


def _pairs(value: object) -> object:
    """`fname=id,dialogue=text` as a mapping; a mapping stays what it is."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",")]
    if not all(ours and theirs for ours, _, theirs in pairs):
        raise ValueError("write it as fname=id,dialogue=text (our name=the file's name)")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _known_columns(columns: dict[str, str]) -> dict[str, str]:
    unknown = [name for name in columns if not re.fullmatch(r"fname|dialogue|topic|summary\d*", name)]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no column of ours; ours are fname, dialogue, summary, summary1.., topic")
    return columns


def _predictions_and_gold(files: list[Path]) -> list[Path]:
    if len(files) < 2:
        raise ValueError("give prediction files, then the gold file, as in `dialsum score submission.csv gold.csv`")
    return files


def _numbers(value: object) -> object:
    """`r1=1,r2=2` as a mapping; a mapping stays what it is."""
    if not isinstance(value, str):
        return value
    pairs = [part.rpartition("=") for part in value.split(",")]
    if not all(name.strip() and number.strip() for name, _, number in pairs):
        raise ValueError("write it as NAME=NUMBER,NAME=NUMBER")
    return {name.strip(): number.strip() for name, _, number in pairs}


def _rouge_weights(weights: dict[str, float]) -> dict[str, float]:
    if unknown := [name for name in weights if name not in ("r1", "r2", "rl")]:
        raise ValueError(f"'{unknown[0]}' is no ROUGE; write it as r1=1,r2=2,rl=1")
    if weights and not any(weights.values()):
        raise ValueError("one of r1, r2 and rl must be greater than 0")
    return weights


def _several(files: list[Path]) -> list[Path]:
    if len(files) < 2:
        raise ValueError("give two prediction files or more, as in `dialsum ensemble a.csv b.csv c.csv`")
    if twice := [path for path in files if files.count(path) > 1]:
        raise ValueError(f"'{twice[0]}' is there twice; --system-weights {twice[0]}=2 gives it two votes")
    return files


def _models(names: list[str]) -> list[str]:
    for name in names:
        registry.resolve(name)
    return list(dict.fromkeys(names))


def _model(name: str) -> str:
    registry.resolve(name)
    return name


def parse_bytes(text: str) -> int:
    """Bytes of a size such as 60GB or 1.5TiB; a bare number is bytes.

    Raises:
        ValueError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]i?)?b?", text.strip().lower())
    if not found:
        raise ValueError(f"'{text}' is no size; write it as 60GB")
    return round(float(found[1]) * BYTES[found[2] or ""])


def parse_seconds(text: str) -> float:
    """Seconds of an age such as 30d, 12h or 8w.

    Raises:
        ValueError: it is no age.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip().lower())
    if not found:
        raise ValueError(f"'{text}' is no age; write it as 30d, 12h or 8w")
    return float(found[1]) * SECONDS[found[2]]


def _size(text: str) -> str:
    parse_bytes(text)
    return text


def _age(text: str) -> str:
    parse_seconds(text)
    return text


def _caches(names: list[str]) -> list[str]:
    known = (*CACHES, *CACHES_IF_ASKED)
    for name in names:
        if name not in known:
            raise ValueError(f"'{name}' is no cache; choose from {', '.join(known)}")
    return list(dict.fromkeys(names))


def _server(url: str | None) -> str | None:
    """A server's address without what it must not hold; what was given is not repeated, because it may be secret."""
    if url is None:
        return None
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as in http://127.0.0.1:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("it must hold no name, password or query: put the key into the variable OPENAI_API_KEY")
    return url.strip().rstrip("/")


Names = Annotated[list[str], NoDecode, BeforeValidator(_items)]
Caches = Annotated[Names, AfterValidator(_caches)]
Size = Annotated[str, AfterValidator(_size)]
Age = Annotated[str, AfterValidator(_age)]
Models = Annotated[Names, AfterValidator(_models), Field(min_length=1)]
Model = Annotated[str, AfterValidator(_model)]
Numbers = Annotated[dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]], NoDecode, BeforeValidator(_numbers)]
Columns = Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs), AfterValidator(_known_columns)]


class Settings(BaseSettings):
    """Precedence: keyword or flag, then DIALSUM_* variable, then --config YAML, then the default below."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        defer_build=True,
        protected_namespaces=(),
    )

    config: Annotated[Path | None, Field(exclude=True)] = None
    """YAML file whose keys are the option names."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources in order of precedence; mistyped variables and keys are refused here."""
        assert isinstance(init_settings, InitSettingsSource)
        _check_environment()
        path = init_settings.init_kwargs.get("config") or os.environ.get(f"{ENV_PREFIX}CONFIG")
        values = _read_yaml(Path(path), cls) if path else {}
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=values)

    @classmethod
    def command(cls) -> str:
        """The command whose options these are: `cache-clean` of `CacheCleanSettings`."""
        return re.sub(r"\B(?=[A-Z])", "-", cls.__name__.removesuffix("Settings")).lower()

    def to_yaml(self, comments: Mapping[str, str] | None = None) -> str:
        """The resolved settings as YAML that parses back to an equal object; with a comment behind some of them."""
        parts = []
        for name, value in self.model_dump(mode="json").items():
            part = yaml.safe_dump({name: value}, allow_unicode=True, sort_keys=False)
            comment = (comments or {}).get(name)
            parts.append(f"{part.rstrip()}  # {comment}\n" if comment else part)
        return "".join(parts)


class _Loader(yaml.SafeLoader):
    """YAML without two surprises: a repeated key is an error, and `yes` is a word until pydantic reads it as true."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, if no key is there twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(problem=f"the key '{repeated[0]}' is there twice")
        return super().construct_mapping(node, deep)


def _descendants(cls: type[Settings]) -> Iterator[type[Settings]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _descendants(child)


def _check_environment() -> None:
    known = {name.upper() for cls in _descendants(Settings) for name in cls.model_fields}
    for variable in os.environ:
        name = variable.upper().removeprefix(ENV_PREFIX)
        if variable.upper().startswith(ENV_PREFIX) and name not in known:
            remedy = _nearest(name, known, "unset it", prefix=ENV_PREFIX)
            raise RequestError(f"environment variable {variable} is no option", remedy)


def _read_yaml(path: Path, cls: type[Settings]) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except OSError as error:
        raise RequestError(f"--config: can't read '{path}': {error.strerror}", "give an existing YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"--config: '{path}' is no YAML: {' '.join(str(error).split())}", "mend that line") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RequestError(f"--config: '{path}' holds no mapping", "write one `option: value` a line")
    allowed = [name for name in cls.model_fields if name != "config"]
    for key in values:
        if key in allowed:
            continue
        what = f"--config: '{path}' has the unknown key '{key}'"
        if others := _commands_that_know(key):
            raise RequestError(f"{what}: {', '.join(others)} knows it", "give each command a file of its own")
        raise RequestError(what, _nearest(str(key), allowed, "remove that key"))
    return values


def _commands_that_know(key: str) -> list[str]:
    commands = dict.fromkeys(cls for cls in _descendants(Settings) if not cls.__subclasses__())
    return [f"`dialsum {cls.command()}`" for cls in commands if key in cls.model_fields.keys() - Settings.model_fields]


def _nearest(word: str, known: Iterable[str], otherwise: str, prefix: str = "") -> str:
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{prefix}{near[0]}'?" if near else otherwise


class DataSettings(Settings):
    """Which dialogues."""

    data: str = str(BUNDLED / "dev.csv")
    """Dialogues: a CSV, JSONL or Parquet file."""

    columns: Columns = {}
    """Names of the columns where they differ from ours, as in fname=id,dialogue=text."""

    limit: int | None = Field(None, ge=1)
    """Use only the first N dialogues."""


class ModelSettings(Settings):
    """How models are loaded."""

    precision: Literal["auto", "bf16", "fp16", "fp32", "nf4"] = "auto"
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

    no_repeat_ngram_size: int = Field(0, ge=0)
    """Never repeat an n-gram of this many tokens; 0 allows it. It breaks tags that a model writes in several tokens."""

    batch_tokens: int | None = Field(None, ge=1)
    """Tokens a batch may hold, padding and summaries included. [default: what fits into free memory]"""


class SummarizerSettings(ModelSettings, GenerationSettings):
    """What makes a summarizer of a name."""


class EngineSettings(SummarizerSettings):
    """What runs the model, and how a server is asked."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)  # a URL may hold a password

    engine: Literal["auto", "hf", "vllm", "openai"] = "auto"
    """transformers (hf) or vLLM here, or a server that speaks OpenAI's API; auto is hf, or openai with --base-url."""

    base_url: Annotated[str | None, AfterValidator(_server)] = None
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

    wandb_project: str = "dialsum"
    """Project of the tracked run."""

    wandb_log_text: bool = False
    """Track dialogues and summaries as well, which then leave this machine; without it, nothing but numbers."""


class DiskSettings(Settings):
    """What downloads may do to the disk."""

    delete_cache: bool = False
    """Delete what this run has downloaded of a model once the model is done; what was there before stays."""

    disk_limit: Size | None = None
    """Refuse a download after which caches and runs would take more than this, as in 80GB."""


class ScreenSettings(DataSettings, EngineSettings, RunSettings, TrackingSettings, DiskSettings):
    """Options of `dialsum screen`."""

    models: Models = ["tiny-bart", "tiny-llama"]
    """Models to rank: catalogue names, Hugging Face ids or folders, separated by commas."""

    baselines: bool = True
    """Rank what needs no model as well: a constant sentence, the first lines, another row's summary."""

    max_minutes_per_model: float | None = Field(None, gt=0)
    """Stop a model that generates for longer than this; its summaries are kept, and the next run goes on from there."""

    output_dir: Path = Path("runs/screen")
    """Folder in which this run gets a folder of its own."""


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


class FinetuneSettings(
    SummarizerSettings, RecipeSettings, TrainingSettings, RunSettings, TrackingSettings, DiskSettings
):
    """Options of `dialsum finetune`."""

    models: Models = ["tiny-bart"]
    """Models to fine-tune, one after the other, separated by commas."""

    train: str = str(BUNDLED / "train.csv")
    """Training dialogues with summaries."""

    dev: str = str(BUNDLED / "dev.csv")
    """Dialogues with summaries on which the result is judged."""

    columns: Columns = {}
    """Names of the columns where they differ from ours, as in fname=id,dialogue=text."""

    output_dir: Path = Path("runs/finetune")
    """Folder in which each model gets a run folder of its own."""

    resume: bool = True
    """Go on with the run of these models that an earlier command left unfinished."""

    merge: bool = False
    """Also write the weights with the adapter merged into them, for programs that know no adapters."""


class PredictSettings(DataSettings, EngineSettings, RunSettings, TrackingSettings):
    """Options of `dialsum predict`."""

    model: Model = "tiny-bart"
    """Catalogue name, Hugging Face id, folder, or run folder of `dialsum finetune`."""

    data: str = str(BUNDLED / "test.csv")
    """Dialogues: a CSV, JSONL or Parquet file, or owner/name:split of the hub."""

    output: Path = Path("submission.csv")
    """File to write, with fname and summary in the order of the input: CSV, JSONL or Parquet by its ending."""

    template: Path | None = None
    """Sample submission: the output gets its columns, an index among them, and the order of its ids."""

    overwrite: bool = False
    """Replace the output where it exists."""

    long_dialogue: Literal["cut", "chunk"] = "cut"
    """What doesn't fit into the model loses turns from its middle, or is summarised in parts, then their summaries."""

    num_samples: int | None = Field(None, ge=1)
    """Draw so many summaries of each dialogue, and keep the one that the others agree with most (MBR)."""

    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    """How freely samples are drawn: below 1 the likely tokens become likelier."""

    top_p: float = Field(1.0, gt=0, le=1)
    """Draw samples from the likeliest tokens that have this probability together."""

    keep_samples: Path | None = None
    """Write all samples too, numbered: samples.csv becomes samples-1.csv and so on, files for `dialsum ensemble`."""

    output_dir: Path = Path("runs/predict")
    """Folder in which this run gets a folder of its own."""


class CheckSettings(DataSettings):
    """Options of `dialsum check`."""

    submission: Annotated[Path, Positional()]
    """The file that is to be handed in."""

    data: str = str(BUNDLED / "test.csv")
    """The dialogues that it summarises: a CSV, JSONL or Parquet file, or owner/name:split of the hub."""

    train: str | None = None
    """Training dialogues with summaries: what is usual among them is nothing odd."""

    template: Path | None = None
    """Sample submission: its columns and the order of its ids are those to have."""


class ScoreSettings(RunSettings, TrackingSettings):
    """Options of `dialsum score`."""

    files: Annotated[list[Path], NoDecode, Positional(), AfterValidator(_predictions_and_gold)]
    """Prediction files, then the gold file."""

    gold: Annotated[list[Path], NoDecode, BeforeValidator(_listed)] = []
    """One more gold file of the same ids, for more references; may be repeated."""

    dialogues: Path | None = None
    """File with `fname` and `dialogue`, for what only they can tell, where the gold file has no dialogues."""

    refs: Literal["mean", "best"] = "mean"
    """What several references make of a score: their mean, or the best of each ROUGE."""

    tokenizer: Literal["mecab", "char", "eojeol"] = "mecab"
    """What texts are cut into; char and eojeol give quite other numbers than morphemes."""

    allow_other_dictionary: bool = False
    """Score with another Mecab dictionary than the one that all compare by."""

    per_item: Path | None = None
    """CSV file to write: each row's scores and findings, by system."""

    worst: int = Field(0, ge=0)
    """Show each system's N lowest scores beside the reference, morpheme by morpheme."""

    verify: bool = False
    """Compute everything again with the package rouge 1.0.1 and compare."""

    report: Path | None = None
    """HTML page to write: distributions, topics, worst cases."""

    overwrite: bool = False
    """Replace the files to write where they exist."""

    columns: Columns = {}
    """Names of the columns where they differ from ours, as in fname=id,summary=answer, in the files that have them."""


class EnsembleSettings(RunSettings):
    """Options of `dialsum ensemble`."""

    files: Annotated[list[Path], NoDecode, Positional(), AfterValidator(_several)]
    """Prediction files of the same ids, the best system first."""

    output: Path = Path("ensemble.csv")
    """File to write, with fname and the chosen summary: CSV, JSONL or Parquet by its ending."""

    overwrite: bool = False
    """Replace the output where it exists."""

    gold: Annotated[list[Path], NoDecode, BeforeValidator(_listed)] = []
    """Gold file: tells the gain over the best single system. May be repeated for more references of the same ids."""

    refs: Literal["mean", "best"] = "mean"
    """What several references make of a score: their mean, or the best of each ROUGE."""

    weights: Annotated[Numbers, AfterValidator(_rouge_weights)] = {}
    """What two summaries' agreement is made of, as in r1=1,r2=2,rl=1. [default: each counts 1, as in final_score]"""

    system_weights: Numbers = {}
    """How much a system's vote counts, as in a.csv=2,b.csv=0.5; 1 where nothing is said."""

    max_length_ratio: float | None = Field(None, gt=1, allow_inf_nan=False)
    """Leave out a summary that has so many times more or fewer morphemes than the dialogue's median one."""

    tokenizer: Literal["mecab", "char", "eojeol"] = "mecab"
    """What texts are cut into; char and eojeol give quite other numbers than morphemes."""

    allow_other_dictionary: bool = False
    """Choose by another Mecab dictionary than the one that all compare by."""

    @model_validator(mode="after")
    def _weights_of_systems(self) -> Self:
        for name in self.system_weights:
            if Path(name) not in self.files:
                listed = ", ".join(map(str, self.files))
                raise ValueError(f"--system-weights: '{name}' is none of the files, which are {listed}")
        return self

    @property
    def shares(self) -> list[float]:
        """The weight of each file's vote."""
        given = {Path(name): weight for name, weight in self.system_weights.items()}
        return [given.get(path, 1.0) for path in self.files]


class CacheCleanSettings(Settings):
    """Options of `dialsum cache-clean`."""

    keep: Annotated[Names, AfterValidator(lambda names: list(dict.fromkeys(names)))] = []
    """Models to keep: catalogue names, Hugging Face ids or globs such as 'Qwen/*', separated by commas."""

    only: Caches = []
    """Clean these caches alone: hub, leftovers, xet, datasets, wandb, inductor, triton, or one that --include names."""

    include: Caches = []
    """Clean these as well: hub-data, wandb-staging (perhaps not uploaded), uv, pip, checkpoints (of finished runs)."""

    older_than: Age | None = None
    """Delete only what nobody has used for this long, as in 30d, 12h or 8w."""

    max_size: Size | None = None
    """Delete only until the caches take no more than this, as in 60GB; what was used least recently goes first."""

    runs: Annotated[list[Path], NoDecode, BeforeValidator(_listed)] = [Path("runs")]
    """Folder with runs: the models they are based on stay. May be repeated."""

    yes: bool = False
    """Delete without asking."""

    dry_run: bool = False
    """Only show what would go."""

    @model_validator(mode="after")
    def _asked_for(self) -> Self:
        for name in self.only:
            if name in CACHES_IF_ASKED and name not in self.include:
                raise ValueError(f"--only {name}: it is cleaned only where --include {name} is given as well")
        return self

    @property
    def caches(self) -> tuple[str, ...]:
        """The caches to clean."""
        return tuple(self.only) or (*CACHES, *(name for name in self.include if name not in CACHES))


class ModelsSettings(Settings):
    """Options of `dialsum models`."""

    name: Annotated[str | None, Positional()] = None
    """One model, to show all that is known of it."""


def owner_of(settings_class: type[Settings], name: str) -> type[Settings]:
    """The settings class that first declares an option."""
    return next(cls for cls in reversed(settings_class.__mro__) if name in getattr(cls, "model_fields", ()))


def is_positional(field: FieldInfo) -> bool:
    """Whether a field is given by position on the command line."""
    return any(isinstance(mark, Positional) for mark in field.metadata)
