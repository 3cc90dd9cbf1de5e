"""Every option of every command, declared once: flags, YAML keys and environment variables derive from here."""

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from dialsum_cli import registry
from dialsum_cli.errors import RequestError

BUNDLED = Path(__file__).parent / "data" / "bundled"
ENV_PREFIX = "DIALSUM_"


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


def _models(names: list[str]) -> list[str]:
    for name in names:
        registry.resolve(name)
    return list(dict.fromkeys(names))


def _model(name: str) -> str:
    registry.resolve(name)
    return name


Names = Annotated[list[str], NoDecode, BeforeValidator(_items)]
Models = Annotated[Names, AfterValidator(_models), Field(min_length=1)]
Model = Annotated[str, AfterValidator(_model)]
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

    def to_yaml(self) -> str:
        """The resolved settings as YAML that parses back to an equal object."""
        return yaml.safe_dump(self.model_dump(mode="json"), allow_unicode=True, sort_keys=False)


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
        if key not in allowed:
            raise RequestError(
                f"--config: '{path}' has the unknown key '{key}'", _nearest(str(key), allowed, "remove that key")
            )
    return values


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

    batch_tokens: int = Field(16_384, ge=1)
    """Tokens a batch may hold, padding and summaries included."""


class SummarizerSettings(ModelSettings, GenerationSettings):
    """What makes a summarizer of a name."""


class RunSettings(Settings):
    """What every run folder needs to know."""

    seed: int = Field(42, ge=0)
    """Decides every random choice."""


class ScreenSettings(DataSettings, SummarizerSettings, RunSettings):
    """Options of `dialsum screen`."""

    models: Models = ["tiny-bart", "tiny-llama"]
    """Models to rank: catalogue names, Hugging Face ids or folders, separated by commas."""

    baselines: bool = True
    """Rank what needs no model as well: a constant sentence, the first lines, another row's summary."""

    max_minutes_per_model: float | None = Field(None, gt=0)
    """Stop a model that generates for longer than this; its summaries are kept, and the next run goes on from there."""

    output_dir: Path = Path("runs/screen")
    """Folder in which this run gets a folder of its own."""


class FinetuneSettings(SummarizerSettings, RunSettings):
    """Options of `dialsum finetune`."""

    models: Models = ["tiny-bart"]
    """Models to fine-tune, one after the other, separated by commas."""

    train: str = str(BUNDLED / "train.csv")
    """Training dialogues with summaries."""

    dev: str = str(BUNDLED / "dev.csv")
    """Dialogues with summaries on which the result is judged."""

    columns: Columns = {}
    """Names of the columns where they differ from ours, as in fname=id,dialogue=text."""

    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate. [default: the model's recipe]"""

    num_epochs: float | None = Field(None, gt=0)
    """Passes over the training data. [default: the model's recipe]"""

    batch_size: int | None = Field(None, ge=1)
    """Rows per optimizer step. [default: the model's recipe]"""

    output_dir: Path = Path("runs/finetune")
    """Folder in which each model gets a run folder of its own."""


class PredictSettings(DataSettings, SummarizerSettings, RunSettings):
    """Options of `dialsum predict`."""

    model: Model = "tiny-bart"
    """Catalogue name, Hugging Face id, folder, or run folder of `dialsum finetune`."""

    data: str = str(BUNDLED / "test.csv")
    """Dialogues: a CSV, JSONL or Parquet file."""

    output: Path = Path("submission.csv")
    """CSV file to write, with fname and summary in the order of the input."""

    overwrite: bool = False
    """Replace the output where it exists."""

    output_dir: Path = Path("runs/predict")
    """Folder in which this run gets a folder of its own."""


class ScoreSettings(RunSettings):
    """Options of `dialsum score`."""

    files: Annotated[list[Path], NoDecode, Positional(), Field(min_length=2)]
    """Prediction files, then the gold file."""

    gold: Annotated[list[Path], NoDecode, BeforeValidator(_listed)] = []
    """One more gold file of the same ids, for more references; may be repeated."""

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
    """Names of the columns where they differ from ours, as in fname=id,summary=answer."""

    @model_validator(mode="after")
    def _files_exist(self) -> Self:
        for path in (*self.files, *self.gold):
            if not path.is_file():
                what = "is a folder" if path.is_dir() else "does not exist"
                raise ValueError(f"'{path}' {what}; give CSV, JSONL or Parquet files")
        return self


class CacheCleanSettings(Settings):
    """Options of `dialsum cache-clean`."""

    keep: Annotated[Names, AfterValidator(lambda names: list(dict.fromkeys(names)))] = []
    """Models to keep: catalogue names or Hugging Face ids, separated by commas."""

    yes: bool = False
    """Delete without asking."""

    dry_run: bool = False
    """Only show what would go."""


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
