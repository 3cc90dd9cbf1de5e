"""The page of a search: what was tried, how the best grew, which options matter, and the verdict."""

from collections.abc import Iterator
from itertools import accumulate

from dialsum_cli import tuned
from dialsum_cli.reports.charts import Bar, Bars, Curve, Mark
from dialsum_cli.reports.page import Block, Facts, Page, Paragraph, Section
from dialsum_cli.reports.training import side_by_side
from dialsum_cli.results import TunedStage, TuneResult
from dialsum_cli.tables import Column, Table


def tuning_page(result: TuneResult) -> Page:
    """The page of a finished search."""
    return Page(
        f"dialsum tune · {result.model}",
        [Section(stage.stage.capitalize(), [*_blocks(stage, result.signature)]) for stage in result.stages],
        footer=[
            Facts([("data", result.data.path), ("sha256", result.data.sha256), ("dialogues", result.data.rows)]),
        ],
    )


def _blocks(stage: TunedStage, signature: str) -> Iterator[Block]:
    yield Paragraph(tuned.verdict(stage).plain)
    title = f"Scores on the {stage.held_out} dialogues that the search did not see"
    yield side_by_side(title, {"starting point": stage.before, f"trial {stage.leader}": stage.after}, signature)
    yield _history(stage)
    if stage.importances:
        bars = [Bar(name, 100 * share) for name, share in stage.importances.items()]
        yield Bars("What sets the best trials apart", bars, "option", column="share, %")
        yield Paragraph(
            f"PED-ANOVA over {len(stage.trials)} trials: a hint, not a measurement. It tells how far the values in the "
            "best quarter of the trials are from those in all of them."
        )
    else:
        yield Paragraph("Too few trials with scores, or all scores alike, to tell which options matter.")
    yield _trials(stage)


def _history(stage: TunedStage) -> Curve:
    scored = [(each.number, each.final_score) for each in stage.trials if each.final_score is not None]
    best = accumulate((score for _, score in scored), max)
    lines = {
        "trial": [(float(number), score) for number, score in scored],
        "best so far": [(float(number), score) for (number, _), score in zip(scored, best, strict=True)],
    }
    mark = Mark(stage.leader, "leader")
    return Curve(f"final_score on the {stage.searched} dialogues searched by", lines, "trial", "final_score", mark)


def _trials(stage: TunedStage) -> Table:
    names = list(stage.space)
    table = Table(
        [Column("Trial"), *(Column(name, "left") for name in names), Column("Final")],
        title="Trials, in their order",
    )
    for trial in stage.trials:
        score = trial.status if trial.final_score is None else f"{trial.final_score:.2f}"
        table.add(trial.number, *(tuned.value(trial.options[name]) for name in names), score)
    return table
