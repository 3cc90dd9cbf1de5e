"""The page of `dialsum score`: how good each system is, how sure that is, and where it fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import fsum
from typing import NamedTuple

from dialsum_cli.reports.charts import Bar, Bars, Histogram, Mark, Scatter
from dialsum_cli.reports.page import Differences, Facts, Grid, Page, Paragraph, Section
from dialsum_cli.reports.runs import card, flat
from dialsum_cli.results import ScoredItems, ScoreResult, SystemItems, SystemScore
from dialsum_cli.scoreboard import FEW, findings, labels, p_value, too_few, verdict, verified
from dialsum_cli.tables import Column, Table

TOPICS = 15
"""Topics with a bar of their own, the most frequent; all others share one."""

FEWEST = 5
"""Dialogues that a topic's interval takes: resamples of fewer say little more than their lowest and highest score."""

EMPTY = 20
"""Empty predictions that are listed; more are counted."""

Interval = Callable[[Sequence[float]], tuple[float, float]]


def score_page(
    result: ScoreResult, *, settings: Mapping[str, object], provenance: Mapping[str, object], interval: Interval
) -> Page:
    """The page of a result.

    Args:
        result: with its `items`.
        settings: the resolved options by name.
        provenance: where the numbers come from: versions, machine, data; mappings in it are unfolded.
        interval: the 95 % interval of a mean, of the items' scores.

    Raises:
        ValueError: the result has no items.
    """
    if result.items is None:
        raise ValueError("a page is made of a result with its items")
    systems = list(map(_System, labels(result.systems), result.systems, result.items.systems))
    heading = "Scores" if result.tokenizer == "mecab" else f"Scores by {result.tokenizer}, not by morphemes"
    return Page(
        "dialsum score · " + ", ".join(system.name for system in systems),
        [
            Section(heading, [_scores(result, systems), *_comparisons(systems), *_empty(systems), *_verified(result)]),
            Section("What the score doesn't tell", [*_findings(result)]),
            Section("Distribution", [_distributions(systems), _lengths(systems)]),
            *_topics(result.items, systems, interval),
            *(_worst(system, result.items) for system in systems if system.items.worst),
        ],
        footer=[Facts([("signature", result.signature), *flat(settings), *flat(provenance)])],
    )


class _System(NamedTuple):
    name: str
    score: SystemScore
    items: SystemItems


def _scores(result: ScoreResult, systems: Sequence[_System]) -> Table:
    ways = list(result.systems[0].by_refs) if result.references > 1 else []
    names = (
        "Final",
        "95 %",
        "R1",
        "R2",
        "RL",
        "Sum",
        "Rows",
        *(f"Final, {way} of {result.references}" for way in ways),
    )
    caption = "Final = mean of ROUGE-1/2/L, 0-100; Sum = their sum, 0-300."
    if ways:
        caption += f" Of the {result.references} references of a row, the {result.refs} counts."
    table = Table([Column("System", "left"), *map(Column, names)], caption=caption)
    for name, system, _ in systems:
        table.add(
            name, f"{system.final_score:.2f}", f"{system.ci95[0]:.1f}–{system.ci95[1]:.1f}", f"{system.rouge1:.2f}",
            f"{system.rouge2:.2f}", f"{system.rougeL:.2f}", f"{system.rouge_sum:.2f}", system.n,
            *(f"{system.by_refs[way]:.2f}" for way in ways),
        )  # fmt: skip
    for name, value in chain(result.floor.items(), result.ceiling.items()):
        table.add(f"({name})", f"{value:.2f}", *[None] * (len(names) - 1), style="dim")
    return table


def _comparisons(systems: Sequence[_System]) -> Iterator[Table]:
    first, *others = systems
    names = ("Difference", "95 %", "p", "Wins", "Ties", "Losses")
    table = Table(
        [Column("System", "left"), *map(Column, names), Column("Verdict", "left")],
        title=f"Against {first.name}",
        caption="Paired randomisation test over the rows"
        + (", p adjusted by Holm's method." if len(others) > 1 else ".")
        + " Tied: the difference may be chance."
        + f" Few rows: fewer than {FEW} are too few to tell."
        * any(too_few(system.score, system.score.n) for system in others),
    )
    for name, system, _ in others:
        if system.difference is None or system.difference_ci95 is None or system.p_value is None:
            continue
        table.add(
            name, f"{system.difference:+.2f}", f"{system.difference_ci95[0]:+.2f} to {system.difference_ci95[1]:+.2f}",
            p_value(system.p_value), system.wins, system.ties, system.losses, verdict(system, system.n),
        )  # fmt: skip
    if table.rows:
        yield table


def _empty(systems: Sequence[_System]) -> Iterator[Paragraph]:
    for name, score, _ in systems:
        if listed := score.empty_fnames[:EMPTY]:
            more = f" and {score.empty - len(listed)} more" if score.empty > len(listed) else ""
            yield Paragraph(f"{name}: {score.empty} without a word, which score 0: {', '.join(listed)}{more}.")


def _verified(result: ScoreResult) -> Iterator[Paragraph]:
    if done := result.verification:
        yield Paragraph(f"Verified: {verified(done)}")


def _findings(result: ScoreResult) -> Iterator[Table | Paragraph]:
    table = findings(result)
    yield replace(table, title="")  # the section's
    for note, _ in table.notes:
        yield Paragraph(note)


def _distributions(systems: Sequence[_System]) -> Grid:
    return Grid(
        [
            Histogram(
                f"Final scores · {name}", items.final_score, "final score",
                mark=Mark(score.final_score, f"mean {score.final_score:.1f}"),
            )
            for name, score, items in systems
        ]
    )  # fmt: skip


def _lengths(systems: Sequence[_System]) -> Grid:
    lengths = [[len("".join(summary.split())) for summary in system.items.summaries] for system in systems]
    longest = max(1, *(length for each in lengths for length in each))
    return Grid(
        [
            Scatter(
                f"Score against length · {system.name}", list(zip(each, system.items.final_score, strict=True)),
                "characters of the summary, blanks left out", "final score", x_within=(0, longest),
            )
            for system, each in zip(systems, lengths, strict=True)
        ]
    )  # fmt: skip


def _topics(items: ScoredItems, systems: Sequence[_System], interval: Interval) -> Iterator[Section]:
    counts = Counter(filter(None, items.topics))
    if not counts:
        return
    shown = [topic for topic, count in counts.most_common(TOPICS) if count > 1]
    others = len(counts) - len(shown)
    rows = {topic: [i for i, name in enumerate(items.topics) if name == topic] for topic in shown}
    if others:
        rows[f"({others} other topics)"] = [i for i, name in enumerate(items.topics) if name and name not in rows]
    if missing := len(items.topics) - counts.total():
        rows["(no topic)"] = [i for i, name in enumerate(items.topics) if not name]
    text = f"{len(counts)} topics: the most frequent that several dialogues share, {TOPICS} at most, then all others. "
    text += f"An interval takes {FEWEST} dialogues."
    yield Section(
        "Topics",
        [
            Paragraph(text + (f" {missing} dialogues have none." if missing else "")),
            Grid(
                [
                    Bars(
                        f"Mean final score · {name}",
                        [_bar(topic, [scores.final_score[i] for i in rows[topic]], interval) for topic in rows],
                        "Topic",
                    )
                    for name, _, scores in systems
                ]
            ),
        ],
    )


def _bar(topic: str, scores: Sequence[float], interval: Interval) -> Bar:
    return Bar(topic, fsum(scores) / len(scores), len(scores), interval(scores) if len(scores) >= FEWEST else None)


def _worst(system: _System, items: ScoredItems) -> Section:
    scores = system.items
    several = len(next(iter(items.references)))
    cards = [
        card(
            case,
            several,
            "Prediction",
            items.dialogues[case.index],
            note=f"R1 {scores.rouge1[case.index]:.1f} · R2 {scores.rouge2[case.index]:.1f}"
            f" · RL {scores.rougeL[case.index]:.1f} · row {case.index + 1} of the gold",
        )
        for case in scores.worst
    ]
    return Section(f"Lowest {len(cards)} of {system.score.n} · {system.name}", [Differences(cards)])
