"""What `dialsum ensemble` shows: the systems, how much they agree, and whether the ensemble is worth it."""

from rich.text import Text

from dialsum_cli.results import LEVEL, EnsembleResult
from dialsum_cli.scoreboard import FEW, labels, p_is, rows_won, short, signed, spread
from dialsum_cli.tables import Column, Table


def systems(result: EnsembleResult) -> Table:
    """The systems, and the ensemble beneath where there is a gold to score it by."""
    scored = result.score is not None
    table = Table(
        [Column("#"), Column("System", "left"), *([Column("Final"), Column("95 %", weight=3)] if scored else []),
         Column("Vote", weight=2), Column("Chosen"), Column("Same", weight=4), Column("Empty", weight=1),
         Column("Left out", weight=1), Column("Family", weight=5)],
        title=f"Ensemble · {result.rows} rows",
        caption=f"Final = mean of ROUGE-1/2/L, 0-100. {result.signature}" if result.signature else "",
    )  # fmt: skip
    for number, (name, each) in enumerate(zip(labels(result.systems), result.systems, strict=True), 1):
        table.add(
            number, name, *_scored(each.final_score, each.ci95), f"{each.weight:g}", each.chosen, each.same,
            each.empty, each.left_out, each.family, style="bold" if each.path == result.best else "",
        )  # fmt: skip
    if whole := result.score:
        style = "green" if result.verdict == "ensemble" else "yellow"
        table.add(None, "ensemble", *_scored(whole.final_score, whole.ci95), *[None] * 6, style=style)
    for name, final_score in result.floor.items():
        table.add(None, f"({name})", f"{final_score:.2f}", *[None] * 7, style="dim")
    if result.decided_by_order:
        rows = f"{result.decided_by_order} row{'s' * (result.decided_by_order > 1)}"
        line = f"In {rows} several summaries were agreed with equally: the better system's stands."
        table.notes.append((line, "dim"))
    return table


def _scored(final_score: float | None, interval: tuple[float, float] | None) -> list[str]:
    if final_score is None or interval is None:  # nothing has a score where there is no gold
        return []
    return [f"{final_score:.2f}", f"{interval[0]:.1f}–{interval[1]:.1f}"]


def agreement(result: EnsembleResult) -> Table:
    """How much each system says what each other one says: the lower, the more there is to gain, or to lose."""
    count = len(result.systems)
    table = Table(
        [Column("#"), Column("Final score with #", "left"),
         *(Column(str(number), weight=count + 1 - number) for number in range(1, count + 1))],
        title="Agreement",
    )  # fmt: skip
    for number, (name, each) in enumerate(zip(labels(result.systems), result.systems, strict=True), 1):
        others = [None if other == number else f"{value:.0f}" for other, value in enumerate(each.agreement, 1)]
        table.add(number, name, *others)
    return table


def verdict(result: EnsembleResult) -> Text:
    """Whether to ensemble, and why."""
    if result.gain is None or result.gain_ci95 is None or result.p_value is None or result.best is None:
        return Text("The gain is unknown: nothing was compared with a gold. --gold DEV.csv, with files of dev, tells.")
    measured = (
        f"{signed(result.gain)} ({spread(result.gain_ci95)}) beside the best single system, {short(result.best)}, "
        f"{p_is(result.p_value)}; {rows_won(result.wins, result.ties, result.losses)}."
    )
    if result.verdict == "ensemble":
        return Text.assemble(("Ensemble", "bold green"), f": {measured}")
    unsure = result.rows < FEW and result.p_value >= LEVEL
    few = f" {result.rows} rows are too few to tell a small gain." if unsure else ""
    return Text.assemble(("Do not ensemble", "bold yellow"), f": {measured}{few}")
