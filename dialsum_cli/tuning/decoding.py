"""Trials of decoding: dev summarised by one loaded model under other options."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.huggingface import HuggingFaceSummarizer, open_summarizer
from dialsum_cli.engines.samples import elected
from dialsum_cli.metrics.scoring import Scorer
from dialsum_cli.models.loading import LoadedModel
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import TuneSettings
from dialsum_cli.store import Resumed, SummaryStore
from dialsum_cli.summarizer import Summarizer, collect
from dialsum_cli.tuning.spaces import Options
from dialsum_cli.tuning.study import Trial


@dataclass(frozen=True, slots=True)
class Writer:
    """A loaded model that summarises under any options; what it has summarised once is kept in `folder`."""

    loaded: LoadedModel
    settings: TuneSettings
    folder: Path
    reporter: Reporter
    warn: Callable[[str], None]

    def write(self, options: Options, dialogues: Sequence[Dialogue], title: str) -> list[str]:
        """The summaries in the order of the dialogues.

        Raises:
            RequestError: the model can't decode so.
            DialsumError: a single dialogue does not fit into memory, or the disk is full.
        """
        settings = self.settings.model_copy(update=dict(options))
        engine = HuggingFaceSummarizer(self.loaded, settings, self.warn)
        summarizer: Summarizer = Resumed(engine, SummaryStore(self.folder, engine.ingredients()))
        if settings.num_samples is not None:
            sampling = settings.num_samples, settings.temperature, settings.top_p, settings.seed
            summarizer = elected(engine, sampling, self.folder, engine.ingredients())
        with self.reporter.stage(title, len(dialogues), "dialogues") as stage:
            summaries = collect(summarizer, dialogues, lambda batch: stage.advance(len(batch.summaries)))
        return [summary.text for summary in summaries]


@dataclass(frozen=True, slots=True)
class Decodings:
    """Trials that one writer makes; a `tuning.search.Bench`."""

    writer: Writer
    seen: Sequence[Dialogue]
    scorer: Scorer

    def measure(self, trial: Trial) -> float:
        """The final score of a trial."""
        texts = self.writer.write(trial.options, self.seen, f"trial {trial.number}")
        return self.scorer.score(texts).final_score

    def write(self, trial: Trial, dialogues: Sequence[Dialogue], title: str) -> list[str]:
        """The summaries of a trial."""
        return self.writer.write(trial.options, dialogues, title)

    def run_dir(self, trial: Trial) -> Path | None:
        """None: decoding changes no model."""
        return None


@contextmanager
def open_writer(
    spec: ModelSpec, settings: TuneSettings, start: Options, folder: Path, reporter: Reporter
) -> Iterator[Writer]:
    """A model, loaded once for all trials; its memory is free again when the context is left."""
    told: set[str] = set()

    def warn(message: str) -> None:
        if message not in told:  # each trial would say it again
            told.add(message)
            reporter.warn(message)

    with open_summarizer(spec, settings.model_copy(update=dict(start)), reporter) as (_, loaded):
        yield Writer(loaded, settings, folder, reporter, warn)
