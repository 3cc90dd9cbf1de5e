"""What `dialsum tune` shows: the trials, and whether the best of them is better than the starting point."""

from typing import Any

from rich.text import Text

from dialsum_cli.results import LEVEL, TunedStage, TuneResult, TuneTrial
from dialsum_cli.scoreboard import FEW, p_is, rows_won, short, signed, spread
from dialsum_cli.tables import Column, Table


def trials(result: TuneResult) -> Table:
    """The trials of all stages, the best first."""
    several = len(result.stages) > 1
    table = Table(
        [*([Column("Stage", "left")] if several else []), Column("Trial"), Column("Final"),
         Column("Options", "left", weight=1)],
        title=f"Tuning · {short(result.model)} · {result.stages[0].searched} dialogues searched by",
        caption=f"Final = mean of ROUGE-1/2/L, 0-100. {result.signature}",
    )  # fmt: skip
    for stage in result.stages:
        for trial in sorted(stage.trials, key=lambda each: (-(each.final_score or 0.0), each.number)):
            style = "red" if trial.status == "failed" else "magenta" if trial.status == "pruned" else ""
            style = "bold" if trial.number == stage.leader else style
            score = trial.status if trial.final_score is None else f"{trial.final_score:.2f}"
            where = [stage.stage] if several else []
            table.add(*where, trial.number, score, told(trial, stage), style=style)
            if trial.error:
                table.notes.append((f"Trial {trial.number} {trial.status}: {trial.error}", style))
    return table


def told(trial: TuneTrial, stage: TunedStage) -> str:
    """What a trial tried: the options that were searched for; of the starting point, that it is it."""
    searched = ((name, trial.options[name]) for name in stage.space)
    words = ", ".join(f"{name} {value(each)}" for name, each in searched)
    return f"the starting point: {words}" if trial.number == 0 else words


def value(option: Any) -> str:
    """An option's value, as people write it."""
    return "none" if option is None else f"{option:g}" if isinstance(option, float) else str(option)


def verdict(stage: TunedStage) -> Text:
    """Whether the leading trial is better than the starting point, and how that is known."""
    if stage.leader == 0:
        words = f"of {len(stage.trials)} trials none scored above the starting point; keep it."
        return Text.assemble(("No improvement", "bold yellow"), f" in {stage.stage}: {words}")
    measured = (
        f"trial {stage.leader} beside the starting point on {stage.held_out} dialogues that the search did not see: "
        f"{signed(stage.gain)} ({spread(stage.gain_ci95)}), {p_is(stage.p_value)}; "
        f"{rows_won(stage.wins, stage.ties, stage.losses)}."
    )
    if stage.verdict == "improvement":
        return Text.assemble(("Improvement", "bold green"), f" in {stage.stage}: {measured}")
    unsure = stage.held_out < FEW and stage.p_value >= LEVEL
    few = f" {stage.held_out} dialogues are too few to tell a small gain." if unsure else ""
    return Text.assemble(
        ("No improvement", "bold yellow"), f" in {stage.stage}: {measured} Keep the starting point.{few}"
    )
