"""What `dialsum ensemble` shows: the systems, how much they agree, and whether the ensemble is worth it."""

from rich.text import Text

from dialsum_cli.results import EnsembleResult
from dialsum_cli.scoreboard import FEW, p_value, short
from dialsum_cli.tables import Column, Table


def systems(result: EnsembleResult) -> Table:
    """The systems, and the ensemble beneath where there is a gold to score it by."""
    table = Table(
        [Column("#"), Column("System", "left"), Column("Final"), Column("95 %", weight=3), Column("Vote", weight=2),
         Column("Chosen"), Column("Same", weight=4), Column("Empty", weight=1), Column("Left out", weight=1),
         Column("Family", weight=5)],
        title=f"Ensemble · {result.rows} rows",
        caption=f"Final = mean of ROUGE-1/2/L, 0-100. {result.signature}" if result.signature else "",
    )  # fmt: skip
    for number, each in enumerate(result.systems, 1):
        table.add(
            number, short(each.path), *_scored(each.final_score, each.ci95), f"{each.weight:g}", each.chosen, each.same,
            each.empty, each.left_out, each.family, style="bold" if each.path == result.best else "",
        )  # fmt: skip
    if whole := result.score:
        better = result.verdict == "ensemble"
        table.add(
            None,
            "ensemble",
            *_scored(whole.final_score, whole.ci95),
            *[None] * 6,
            style="green" if better else "yellow",
        )
    return table


def _scored(final_score: float | None, interval: tuple[float, float] | None) -> list[str | None]:
    if final_score is None or interval is None:
        return [None, None]
    return [f"{final_score:.2f}", f"{interval[0]:.1f}–{interval[1]:.1f}"]


def agreement(result: EnsembleResult) -> Table:
    """How much each system says what each other one says: the lower, the more there is to gain, or to lose."""
    table = Table(
        [Column("#"), Column("Agrees with", "left"), *(Column(str(n)) for n in range(1, len(result.systems) + 1))],
        title="Agreement · final score of a row's system with a column's as the reference",
    )
    for number, each in enumerate(result.systems, 1):
        others = [None if other == number else f"{value:.0f}" for other, value in enumerate(each.agreement, 1)]
        table.add(number, short(each.path), *others)
    return table


def verdict(result: EnsembleResult) -> Text:
    """Whether to ensemble, and why."""
    if result.gain is None or result.gain_ci95 is None or result.p_value is None or result.best is None:
        return Text("The gain is unknown: nothing was compared with a gold. --gold DEV.csv, with files of dev, tells.")
    low, high = result.gain_ci95
    sure = p_value(result.p_value)
    measured = (
        f"{result.gain + 0.0:+.2f} ({low:+.2f} to {high:+.2f}) beside the best single system, {short(result.best)}, "
        f"p {sure if sure.startswith('<') else f'= {sure}'}; "
        f"{result.wins} rows won, {result.ties} tied, {result.losses} lost."
    )
    if result.verdict == "ensemble":
        return Text.assemble(("Ensemble", "bold green"), f": {measured}")
    few = f" {result.rows} rows are too few to tell a small gain." if result.rows < FEW else ""
    return Text.assemble(("Do not ensemble", "bold yellow"), f": {measured}{few}")
