"""The options of each command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dialsum_cli.settings.base import Positional, Settings
from dialsum_cli.settings.groups import (
    DataSettings,
    DiskSettings,
    EngineSettings,
    RecipeSettings,
    RunSettings,
    SamplingSettings,
    SummarizerSettings,
    TrackingSettings,
    TrainingSettings,
)
from dialsum_cli.settings.space import Space
from dialsum_cli.settings.values import (
    BUNDLED,
    CACHES,
    CACHES_IF_ASKED,
    Age,
    Averaged,
    Caches,
    Columns,
    Model,
    Models,
    Numbers,
    Paths,
    PredictionsAndGold,
    RougeWeights,
    RunFolders,
    SeveralFiles,
    Size,
    SomeCaches,
    SomeModels,
    SomeNames,
)


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


class PredictSettings(DataSettings, EngineSettings, SamplingSettings, RunSettings, TrackingSettings):
    """Options of `dialsum predict`."""

    model: Model = "tiny-bart"
    """Catalogue name, Hugging Face id, folder, or run folder of `dialsum finetune`."""

    average_logits: Averaged = []
    """In place of --model, two or more of one architecture and tokenizer, separated by commas: they write as one."""

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

    keep_samples: Path | None = None
    """Write all samples too, numbered: samples.csv becomes samples-1.csv and so on, files for `dialsum ensemble`."""

    output_dir: Path = Path("runs/predict")
    """Folder in which this run gets a folder of its own."""

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.average_logits and self.model != type(self).model_fields["model"].default:
            raise ValueError("--average-logits names all models itself: leave --model out")
        return self

    @property
    def members(self) -> list[str]:
        """The models that write each summary together; mostly one."""
        return self.average_logits or [self.model]


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

    files: Annotated[PredictionsAndGold, Positional()]
    """Prediction files, then the gold file."""

    gold: Paths = []
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

    files: Annotated[SeveralFiles, Positional()]
    """Prediction files of the same ids, the best system first."""

    output: Path = Path("ensemble.csv")
    """File to write, with fname and the chosen summary: CSV, JSONL or Parquet by its ending."""

    overwrite: bool = False
    """Replace the output where it exists."""

    gold: Paths = []
    """Gold file: tells the gain over the best single system. May be repeated for more references of the same ids."""

    refs: Literal["mean", "best"] = "mean"
    """What several references make of a score: their mean, or the best of each ROUGE."""

    weights: RougeWeights = {}
    """What two summaries' agreement is made of, as in r1=1,r2=2,rl=1. [default: each counts 1, as in final_score]"""

    system_weights: Numbers = {}
    """How much a system's vote counts, as in a.csv=2,b.csv=0.5; 1 where nothing is said."""

    max_length_ratio: float | None = Field(None, gt=1)
    """Leave out a summary that has so many times more or fewer morphemes than the dialogue's median one."""

    tokenizer: Literal["mecab", "char", "eojeol"] = "mecab"
    """What texts are cut into; char and eojeol give quite other numbers than morphemes."""

    allow_other_dictionary: bool = False
    """Choose by another Mecab dictionary than the one that all compare by."""

    columns: Columns = {}
    """Names of the columns where they differ from ours, as in fname=id,summary=answer, in the files that have them."""

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


class TuneSettings(
    SummarizerSettings, SamplingSettings, RecipeSettings, TrainingSettings, RunSettings, TrackingSettings
):
    """Options of `dialsum tune`; those that it searches for say where the search starts."""

    model: Model = "tiny-bart"
    """Catalogue name, Hugging Face id, folder, or run folder of `dialsum finetune`."""

    stage: Literal["decoding", "training", "both"] = "decoding"
    """Search for how the model as it is writes best, for how it is trained best, or for one and then the other."""

    space: Space = {}
    """What to try, as in '{num_beams: [1, 4], length_penalty: {low: 0.6, high: 2}}'. [default: by the model's kind]"""

    trials: int = Field(12, ge=1)
    """Trials of each stage; the first one is the starting point."""

    train: str = str(BUNDLED / "train.csv")
    """Training dialogues with summaries."""

    dev: str = str(BUNDLED / "dev.csv")
    """Dialogues with summaries: the search sees one half of them, and the other half decides."""

    columns: Columns = {}
    """Names of the columns where they differ from ours, as in fname=id,dialogue=text."""

    limit: int | None = Field(None, ge=2)
    """Use only the first N dev dialogues."""

    output_dir: Path = Path("runs/tune")
    """Folder in which each model gets a run folder of its own."""

    resume: bool = True
    """Go on with the search that the same command left unfinished."""

    @property
    def read(self) -> Sequence[str]:
        """The options whose data the command reads."""
        return ("dev",) if self.stage == "decoding" else super().read


class ReportSettings(RunSettings):
    """Options of `dialsum report`."""

    run_dirs: Annotated[RunFolders, Positional()]
    """Run folders of screen, finetune, predict and tune."""

    output: Path = Path("report.html")
    """HTML page to write: leaderboards, differences that are real, settings, curves, worst cases, provenance."""

    overwrite: bool = False
    """Replace the page where it exists."""

    markdown: Path | None = None
    """Experiment log to keep: a row for each run is added or renewed; a row whose last cell you filled stays."""

    worst: int = Field(3, ge=0)
    """Show each model's N lowest scores beside the reference, morpheme by morpheme."""


class CacheCleanSettings(Settings):
    """Options of `dialsum cache-clean`."""

    keep: Annotated[SomeNames, AfterValidator(lambda names: list(dict.fromkeys(names)))] = []
    """Models to keep: catalogue names, Hugging Face ids or globs such as 'Qwen/*', separated by commas."""

    only: SomeCaches = []
    """Clean these caches alone: hub, leftovers, xet, datasets, wandb, inductor, triton, or one that --include names."""

    include: Caches = []
    """Clean these as well: hub-data, wandb-staging (perhaps not uploaded), uv, pip, checkpoints (of finished runs)."""

    older_than: Age | None = None
    """Delete only what nobody has used for this long, as in 30d, 12h or 8w."""

    max_size: Size | None = None
    """Delete only until the caches take no more than this, as in 60GB; what was used least recently goes first."""

    runs: Paths = [Path("runs")]
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


class DoctorSettings(Settings):
    """Options of `dialsum doctor`."""

    models: SomeModels = []
    """Plan for these models, separated by commas: access, download, disk, memory and minutes on this machine."""

    data: str = str(BUNDLED / "dev.csv")
    """Dialogues that they are to summarise: a plan counts their tokens."""

    train: str = str(BUNDLED / "train.csv")
    """Dialogues with summaries that they are to be trained on."""

    columns: Columns = {}
    """Names of the columns where they differ from ours, as in fname=id,dialogue=text."""

    @property
    def read(self) -> Sequence[str]:
        """The options whose data the command reads."""
        return super().read if self.models else ()


class ModelsSettings(Settings):
    """Options of `dialsum models`."""

    name: Annotated[str | None, Positional()] = None
    """One model, to show all that is known of it."""
