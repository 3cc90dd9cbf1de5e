"""The dialsum commands; each imports its workflow when run, so that --help needs no torch."""

from typing import Annotated

import typer

from dialsum_cli import __version__, console
from dialsum_cli.command import INTERRUPTED, Commands, command
from dialsum_cli.results import (
    CacheCleanResult,
    FinetuneResult,
    ModelsResult,
    PredictResult,
    Reporter,
    ScoreResult,
    ScreenResult,
)
from dialsum_cli.settings import (
    CacheCleanSettings,
    FinetuneSettings,
    ModelsSettings,
    PredictSettings,
    ScoreSettings,
    ScreenSettings,
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


@command(ScreenSettings)
def screen(settings: ScreenSettings, reporter: Reporter) -> ScreenResult:
    """Rank models zero-shot on dialogues with known summaries, baselines beneath."""
    from dialsum_cli.workflows.screen import screen

    return screen(settings, reporter)


@command(FinetuneSettings)
def finetune(settings: FinetuneSettings, reporter: Reporter) -> FinetuneResult:
    """Train models on dialogues with summaries; keep what scores best."""
    from dialsum_cli.workflows.finetune import finetune

    return finetune(settings, reporter)


@command(PredictSettings)
def predict(settings: PredictSettings, reporter: Reporter) -> PredictResult:
    """Summarise dialogues into a submission file."""
    from dialsum_cli.workflows.predict import predict

    return predict(settings, reporter)


@command(ScoreSettings)
def score(settings: ScoreSettings, reporter: Reporter) -> ScoreResult:
    """Judge prediction files against a gold file by morpheme ROUGE."""
    from dialsum_cli.workflows.score import score

    return score(settings, reporter)


@command(CacheCleanSettings)
def cache_clean(settings: CacheCleanSettings, reporter: Reporter) -> CacheCleanResult:
    """Delete downloaded models but those to keep: plan, show, ask, delete."""
    from dialsum_cli.workflows.cache_clean import cache_clean

    return cache_clean(settings, reporter)


@command(ModelsSettings)
def models(settings: ModelsSettings, reporter: Reporter) -> ModelsResult:
    """List the catalogue of known models."""
    from dialsum_cli.workflows.models import models

    return models(settings, reporter)


def main() -> None:
    """The `dialsum` program."""
    try:
        app(prog_name="dialsum")
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
