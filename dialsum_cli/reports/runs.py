"""The page of `dialsum report`: runs side by side, what sets them apart first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import PurePath
from typing import NamedTuple

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.reports.charts import Bar, Bars, Curve, Point
from dialsum_cli.reports.folders import RunFolder
from dialsum_cli.reports.page import Block, Difference, Differences, Facts, Grid, Page, Paragraph, Section
from dialsum_cli.reports.tuning import tuning_page
from dialsum_cli.results import ReportedRun, ReportedSystem, ReportResult, TuneResult, WorstCase
from dialsum_cli.scoreboard import FEW, interval, p_value, verdict
from dialsum_cli.tables import Column, Table


class Lowest(NamedTuple):
    """A system's lowest scores, each with its dialogue."""

    run: str
    model: str
    rows: int
    cases: Sequence[tuple[WorstCase, Dialogue]]


def runs_page(result: ReportResult, folders: Sequence[RunFolder], lowest: Sequence[Lowest]) -> Page:
    """The page of a result.

    Args:
        folders: of `result.runs`, in their order.
        lowest: the worst cases, by system.
    """
    names = [str(folder.path) for folder in folders]
    provenance = [dict(flat(folder.provenance)) for folder in folders]
    return Page(
        f"dialsum report · {len(names)} run{'s' * (len(names) > 1)}",
        [
            Section("Runs", [_runs(result.runs), *map(Paragraph, result.notes)]),
            *(_board(data, [*systems]) for data, systems in groupby(result.systems, lambda each: each.data)),
            Section("Settings", [*_side_by_side(names, [dict(flat(run.settings)) for run in result.runs])]),
            *_curves(folders),
            *(section for folder in folders for section in _search(folder)),
            *map(_lowest, lowest),
            Section("Provenance", [*_side_by_side(names, provenance)]),
        ],
    )


def _runs(runs: Iterable[ReportedRun]) -> Table:
    table = Table(
        [Column("Run", "left"), Column("Command", "left"), Column("Time", "left"), Column("Model", "left"),
         Column("Data", "left"), Column("Final"), Column("95 %")],
        caption="Final = mean of ROUGE-1/2/L, 0-100, of the run's best system.",
    )  # fmt: skip
    for run in runs:
        command = run.command if run.finished else f"{run.command}\nunfinished"
        data = f"{run.data.rows} of {PurePath(run.data.path).name}" if run.data else None
        table.add(
            run.folder, command, run.created[:16].replace("T", " "), run.model, data, _number(run.final_score),
            interval(run.ci95), style="" if run.finished else "yellow",
        )  # fmt: skip
    return table


def _board(data: str, systems: Sequence[ReportedSystem]) -> Section:
    several = len({system.run for system in systems}) > 1
    names = [f"{system.model} · {system.run}" if several else system.model for system in systems]
    bars = Bars(
        "Final score with its 95 % interval",
        [
            Bar(name, system.final_score, system.rows, system.ci95)
            for name, system in zip(names, systems, strict=True)
        ],
        "System", column="final",
    )  # fmt: skip
    tested = any(system.p_value is not None for system in systems)
    numbers = ("R1", "R2", "RL", *(("To the best", "95 %", "p", "Won", "Tied", "Lost") if tested else ()))
    caption = (
        "Paired randomisation test over the dialogues against the best, p adjusted by Holm's method. Tied: the "
        f"difference may be chance; of fewer than {FEW} dialogues the test finds only a large one."
    )
    table = Table(
        [Column("System", "left"), *map(Column, numbers), *([Column("Verdict", "left")] if tested else [])],
        title="Side by side",
        caption=caption if tested else "",
    )
    for name, system in zip(names, systems, strict=True):
        rouges = (_number(system.rouge1), _number(system.rouge2), _number(system.rougeL))
        compared = _compared(system) if tested else ()
        table.add(name, *rouges, *compared, style="dim" if system.baseline else "")
    return Section(f"Leaderboard · {data}", [bars, table])


def _compared(system: ReportedSystem) -> Sequence[object]:
    if system.p_value is None or system.difference is None or system.difference_ci95 is None:
        return [None] * 7
    low, high = system.difference_ci95
    return (
        f"{system.difference + 0.0:+.2f}", f"{low:+.2f} to {high:+.2f}", p_value(system.p_value), system.wins,
        system.ties, system.losses, verdict(system, system.rows),
    )  # fmt: skip


def _side_by_side(names: Sequence[str], each: Sequence[Mapping[str, str]]) -> Iterator[Block]:
    """What differs between the runs that have it, then what doesn't."""
    found: dict[str, set[str]] = {}
    for key, value in (item for values in each for item in values.items()):
        found.setdefault(key, set()).add(value)
    differing = [key for key, values in found.items() if len(values) > 1]
    if differing:
        table = Table([Column("", "left"), *(Column(name, "left") for name in names)], title="Different")
        for key in differing:
            table.add(key, *(values.get(key) for values in each))
        yield table
    elif len(names) > 1:
        yield Paragraph("The same in all runs that have them:")
    yield Facts([(key, values.pop()) for key, values in found.items() if key not in differing])


def flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values as text, mappings within unfolded."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name} · ")
        elif isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
            yield from flat({f"{name} {number}": each for number, each in enumerate(value, 1)}, prefix)
        elif isinstance(value, list | tuple) and value:
            yield prefix + name, "\n".join(map(str, value))
        else:
            yield prefix + name, "–" if value in (None, {}, [], ()) else str(value)


def _curves(folders: Sequence[RunFolder]) -> Iterator[Section]:
    trained = [folder for folder in folders if folder.history]

    def lines(name: str) -> dict[str, list[Point]]:
        return {
            str(folder.path): [(row["step"], row[name]) for row in folder.history if name in row] for folder in trained
        }

    if trained:
        charts = [
            Curve("Loss of the answers' tokens", lines("loss"), "step", "loss"),
            Curve("final_score on dev", lines("final_score"), "step", "final_score"),
        ]
        yield Section("Curves", [Grid(charts)])


def _search(folder: RunFolder) -> Iterator[Section]:
    if isinstance(folder.result, TuneResult):
        for section in tuning_page(folder.result).sections:
            yield Section(f"{section.title} · {folder.path}", section.blocks)


def _lowest(system: Lowest) -> Section:
    cards = [card(case, len(dialogue.references), "Summary", dialogue.text) for case, dialogue in system.cases]
    return Section(f"Lowest {len(cards)} of {system.rows} · {system.model} · {system.run}", [Differences(cards)])


def card(case: WorstCase, references: int, name: str, dialogue: str, note: str = "") -> Difference:
    """One of the lowest scores, beside the nearest of so many references."""
    beside = f"Reference {case.reference_number}, the nearest of {references}" if references > 1 else "Reference"
    texts = [(beside, case.reference), (name, case.summary)]
    return Difference(f"{case.fname} · {case.final_score:.1f}", texts, note=note, context=dialogue)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"
