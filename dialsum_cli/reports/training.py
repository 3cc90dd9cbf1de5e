"""The page of a fine-tuning: its curves, and what the model was worth before and after."""

from collections.abc import Mapping, Sequence

from dialsum_cli.reports.charts import Curve, Mark
from dialsum_cli.reports.page import Facts, Grid, Page, Section
from dialsum_cli.results import FinetuneRun, Scores
from dialsum_cli.scoreboard import interval, p_is, rows_won, signed, spread
from dialsum_cli.tables import Column, Table


def training_page(run: FinetuneRun, history: Sequence[Mapping[str, float]], *, signature: str) -> Page:
    """The page of a finished run.

    Args:
        history: the training's log, an entry for each time something was logged.
    """

    def line(name: str) -> list[tuple[float, float]]:
        return [(entry["step"], entry[name]) for entry in history if name in entry]

    before = [(0.0, run.before.final_score)] if run.before else []
    best = Mark(run.best_step, "kept") if run.best_step else None
    rates = [(step, 1e4 * rate) for step, rate in line("learning_rate")]  # whose own numbers would be long
    curves = [
        Curve("Loss of the answers' tokens", {"loss": line("loss")}, "step", "loss", best),
        Curve("final_score on dev", {"final_score": [*before, *line("final_score")]}, "step", "final_score", best),
        Curve("Learning rate", {"learning rate": rates}, "step", "rate x 10,000", best),
    ]
    table = side_by_side("Scores on dev", {"before": run.before, "after": run.after}, signature)
    plan = run.plan.model_dump() if run.plan else {}
    measured = run.model_dump(include={"train_seconds", "tokens_per_second", "peak_memory_gib", "best_step"})
    return Page(
        f"dialsum finetune · {run.model}",
        [Section("Before and after", [table, *_gain(run)]), Section("Curves", [Grid(curves)])],
        footer=[Facts([(name, _short(value)) for name, value in (plan | measured).items()])],
    )


def _gain(run: FinetuneRun) -> list[Facts]:
    if run.gain is None or run.gain_ci95 is None or run.p_value is None:
        return []
    rows = rows_won(run.wins, run.ties, run.losses)
    return [Facts([("gain", f"{signed(run.gain)} ({spread(run.gain_ci95)}), {p_is(run.p_value)}; {rows}")])]


def side_by_side(title: str, measured: Mapping[str, Scores | None], signature: str) -> Table:
    """A row of scores for each name that has some."""
    columns = [Column("", "left"), *map(Column, ("Final", "95 %", "R1", "R2", "RL"))]
    table = Table(columns, title=title, caption=signature)
    for name, scores in measured.items():
        if scores:
            values = (scores.rouge1, scores.rouge2, scores.rougeL)
            table.add(name, f"{scores.final_score:.2f}", interval(scores.ci95), *(f"{value:.2f}" for value in values))
    return table


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
