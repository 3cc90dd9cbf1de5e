"""The dialsum commands; each imports its workflow when run, so that --help needs no torch."""

from typing import Annotated

import typer

import dialsum_cli
from dialsum_cli import __version__, console
from dialsum_cli.command import Commands, command, run_program
from dialsum_cli.reporter import Reporter
from dialsum_cli.results import (
    BatchesResult,
    CacheCleanResult,
    CheckResult,
    DoctorResult,
    EnsembleResult,
    FinetuneResult,
    ModelsResult,
    PredictResult,
    PromptsResult,
    ReportResult,
    ScoreResult,
    ScreenResult,
    TuneResult,
)
from dialsum_cli.settings import (
    CacheCleanSettings,
    CheckSettings,
    DoctorSettings,
    EnsembleSettings,
    FinetuneSettings,
    ModelsSettings,
    PredictSettings,
    ReportSettings,
    ScoreSettings,
    ScreenSettings,
    TuneSettings,
)

app = typer.Typer(cls=Commands, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        console.stdout.print(__version__)
        raise typer.Exit


@app.callback()
def dialsum(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Summarise Korean dialogues: screen, fine-tune, predict and score models."""


def show_prompt(settings: ScreenSettings | PredictSettings, reporter: Reporter) -> PromptsResult:
    """Print the text and token ids of the first prompt, control tokens marked, and end."""
    return dialsum_cli.show_prompt(settings, reporter)


def show_plan(settings: ScreenSettings | FinetuneSettings, reporter: Reporter) -> DoctorResult:
    """Tell what would be downloaded, and the disk, memory and minutes that it would take here, and end."""
    return dialsum_cli.show_plan(settings, reporter)


@command(ScreenSettings, launch=True, show_prompt=show_prompt, show_plan=show_plan)
def screen(settings: ScreenSettings, reporter: Reporter) -> ScreenResult:
    """Rank models zero-shot on dialogues with known summaries, baselines beneath."""
    return dialsum_cli.screen(settings, reporter)


def show_batch(settings: FinetuneSettings, reporter: Reporter) -> BatchesResult:
    """Print the first batch that would be trained on, trained tokens marked, and end."""
    return dialsum_cli.show_batch(settings, reporter)


@command(FinetuneSettings, launch=True, show_batch=show_batch, show_plan=show_plan)
def finetune(settings: FinetuneSettings, reporter: Reporter) -> FinetuneResult:
    """Train models on dialogues with summaries, and score them before and after."""
    return dialsum_cli.finetune(settings, reporter)


@command(PredictSettings, launch=True, show_prompt=show_prompt)
def predict(settings: PredictSettings, reporter: Reporter) -> PredictResult:
    """Summarise dialogues into a submission file."""
    return dialsum_cli.predict(settings, reporter)


@command(CheckSettings)
def check(settings: CheckSettings, reporter: Reporter) -> CheckResult:
    """Tell whether a submission is fit to be handed in, and what is wrong with it."""
    return dialsum_cli.check(settings, reporter)


@command(ScoreSettings)
def score(settings: ScoreSettings, reporter: Reporter) -> ScoreResult:
    """Judge prediction files against a gold file by morpheme ROUGE."""
    return dialsum_cli.score(settings, reporter)


@command(EnsembleSettings)
def ensemble(settings: EnsembleSettings, reporter: Reporter) -> EnsembleResult:
    """Choose, for each dialogue, the summary that the others agree with most, and tell whether that pays."""
    return dialsum_cli.ensemble(settings, reporter)


@command(TuneSettings)
def tune(settings: TuneSettings, reporter: Reporter) -> TuneResult:
    """Search for decoding or training options that score higher, and tell whether the best of them really do."""
    return dialsum_cli.tune(settings, reporter)


@command(ReportSettings)
def report(settings: ReportSettings, reporter: Reporter) -> ReportResult:
    """Lay runs side by side on one page, and keep an experiment log of them."""
    return dialsum_cli.report(settings, reporter)


@command(CacheCleanSettings)
def cache_clean(settings: CacheCleanSettings, reporter: Reporter) -> CacheCleanResult:
    """Give back the disk that models and caches take, but for what is kept or needed: plan, show, ask, delete."""
    return dialsum_cli.cache_clean(settings, reporter)


@command(ModelsSettings)
def models(settings: ModelsSettings, reporter: Reporter) -> ModelsResult:
    """List the catalogue of known models."""
    return dialsum_cli.list_models(settings, reporter)


@command(DoctorSettings)
def doctor(settings: DoctorSettings, reporter: Reporter) -> DoctorResult:
    """Tell what on this machine works, what doesn't, and what to type about it; with --models, what they will take."""
    return dialsum_cli.doctor(settings, reporter)


def main() -> None:
    """The `dialsum` program."""
    raise SystemExit(run_program(app))
