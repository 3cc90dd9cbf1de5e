"""`dialsum score`: judge prediction files against a gold file."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dialsum_cli.data.dialogues import Dialogue, facts_of, read_dialogues, read_gold, read_gold_dialogues
from dialsum_cli.data.submissions import align, columns_by_file, read_submission
from dialsum_cli.data.writing import check_place
from dialsum_cli.errors import RequestError
from dialsum_cli.metrics.diagnostics import ItemDiagnostics, diagnose, swap_speakers, totals
from dialsum_cli.metrics.differences import lowest
from dialsum_cli.metrics.morphemes import DICTIONARY, Tokenizer
from dialsum_cli.metrics.morphemes import tokenizer as tokenizer_named
from dialsum_cli.metrics.scoring import CONSTANT_SENTENCE, Score, agreement, other_items, score_all
from dialsum_cli.metrics.statistics import against, bootstrap_interval
from dialsum_cli.metrics.verification import verify
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import (
    Diagnostics,
    ScoredItems,
    ScoreResult,
    Scores,
    SystemItems,
    SystemScore,
    Verification,
    WorstCase,
)
from dialsum_cli.runs import provenance, write_atomically
from dialsum_cli.settings import ScoreSettings
from dialsum_cli.tracking import Tracker, tracked

ON_THE_PAGE = 10
"""Worst cases of each system that the report shows where no number was asked for."""
SHOWN = 5
TRACKED = Path("runs/score")
"""Where a tracked scoring keeps its W&B files: it has no run folder of its own."""


def score(settings: ScoreSettings, reporter: Reporter = QUIET) -> ScoreResult:
    """Score each prediction file against the last file, the gold, joined by `fname`, and compare it with the first.

    Raises:
        DataError: a file can't be read, or the ids of a prediction file are not those of the gold.
        RequestError: a file to write exists, or is one of those to read.
        MissingPartError: Mecab isn't installed as it has to be.
        DialsumError: Mecab's dictionary is another one; or a score is not what the package says (`verify`).
    """
    with tracked("score", TRACKED, settings, reporter) as tracker:
        result = _score(settings, reporter)
        _track(result, tracker)
    return result


def _track(result: ScoreResult, tracker: Tracker) -> None:
    for system in result.systems:
        numbers = system.diagnostics.model_dump() | system.model_dump()
        tracker.summarise({f"{system.path}/{name}": value for name, value in numbers.items()})
    if items := result.items:
        rows = [
            (system.path, *row)
            for system, its in zip(result.systems, items.systems, strict=True)
            for row in zip(items.fnames, items.dialogues, its.summaries, strict=True)
        ]
        tracker.log_texts("summaries", ("system", "fname", "dialogue", "summary"), rows)


def _score(settings: ScoreSettings, reporter: Reporter) -> ScoreResult:
    _check_outputs(settings)
    tokenizer = tokenizer_named(settings.tokenizer, allow_other_dictionary=settings.allow_other_dictionary)
    if tokenizer.dictionary not in ("none", DICTIONARY):
        reporter.warn(f"Mecab's dictionary is {tokenizer.dictionary}, not {DICTIONARY}: compare with nothing else")
    rows, summaries = _read(settings, reporter)
    scores, swapped, floor = _measure(settings, tokenizer, rows, summaries, reporter)
    for path, measured in zip(settings.files, scores, strict=False):
        _warn(path, measured, floor, rows, reporter)

    references = [row.references for row in rows]
    systems, items = [], []
    first, *others = (each.items.final_score for each in scores)
    comparisons = [{}, *against(first, others, seed=settings.seed)]
    for path, texts, measured, exchanged, compared in zip(
        settings.files[:-1], summaries, scores, swapped, comparisons, strict=True
    ):
        swaps = sum(map(_better, exchanged.items.final_score, measured.items.final_score))
        diagnostics = totals(_diagnose(texts, rows, tokenizer), empty=measured.empty, speaker_swaps=swaps)
        count = settings.worst or (ON_THE_PAGE if settings.report else 0)
        worst = [*lowest(texts, rows, measured.items.final_score, count, tokenizer)]
        systems.append(_system(path, measured, rows, diagnostics, compared, worst[: settings.worst]))
        items.append(
            SystemItems(
                texts, measured.items.rouge1, measured.items.rouge2, measured.items.rougeL,
                measured.items.final_score, worst,
            )
        )  # fmt: skip
    several = len(rows[0].references) > 1
    agreed = agreement(references, refs=settings.refs, tokenizer=tokenizer) if several else []
    result = ScoreResult(
        systems=systems,
        signature=scores[0].signature,
        floor={name: each.final_score for name, each in floor.items()},
        ceiling={f"reference {number} against the others": value for number, value in enumerate(agreed, 1)},
        tokenizer=settings.tokenizer,
        refs=settings.refs,
        references=len(rows[0].references),
        verification=_verify(settings, tokenizer, references, summaries, scores) if settings.verify else None,
        files=[path for path in (settings.per_item, settings.report) if path],
        items=ScoredItems(
            fnames=[row.fname for row in rows],
            dialogues=[row.text for row in rows],
            topics=[row.topic for row in rows],
            references=references,
            systems=items,
        ),
    )
    if settings.per_item:
        table = _per_item(result, [_diagnose(texts, rows, tokenizer) for texts in summaries], scores, swapped)
        write_atomically(settings.per_item, table, overwrite=settings.overwrite)
    if settings.report:
        write_atomically(settings.report, _page(result, settings, rows), overwrite=settings.overwrite)
    return result


def _inputs(settings: ScoreSettings) -> list[Path]:
    return [*settings.files, *settings.gold, *filter(None, [settings.dialogues])]


def _check_outputs(settings: ScoreSettings) -> None:
    table, page = settings.per_item, settings.report
    if table and page and table.resolve() == page.resolve():
        raise RequestError(f"'{page}' can't be both page and table", "give --report another name")
    for path in filter(None, (table, page)):
        check_place(path, overwrite=settings.overwrite, read=_inputs(settings))


def _read(settings: ScoreSettings, reporter: Reporter) -> tuple[list[Dialogue], list[list[str]]]:
    """The rows of the gold, with the references of all gold files, and each system's summaries in their order."""
    note = reporter.note
    columns = columns_by_file(_inputs(settings), settings.columns, note)
    *systems, gold = settings.files
    rows = read_gold_dialogues(str(gold), columns=columns[gold], note=note)  # a text: it may name one of the hub
    fnames = [row.fname for row in rows]
    for path in settings.gold:
        more = align(path, read_gold(str(path), columns=columns[path], note=note), fnames, gold)
        rows = [replace(row, references=row.references + others) for row, others in zip(rows, more, strict=True)]
    if given := settings.dialogues:
        texts = {each.fname: each for each in read_dialogues(given, columns=columns[given], note=note)}
        aligned = zip(rows, align(given, texts, fnames, gold), strict=True)
        rows = [replace(row, text=each.text, topic=row.topic or each.topic) for row, each in aligned]
    return rows, [
        align(path, read_submission(path, columns=columns[path], note=note), fnames, gold) for path in systems
    ]


def _measure(
    settings: ScoreSettings,
    tokenizer: Tokenizer,
    rows: Sequence[Dialogue],
    summaries: Sequence[Sequence[str]],
    reporter: Reporter,
) -> tuple[list[Score], list[Score], dict[str, Score]]:
    """In one pass the scores of the systems, of the same texts with their speakers exchanged, and of the floor."""
    floor: dict[str, Iterator[str]] = {"constant sentence": (CONSTANT_SENTENCE for _ in rows)}
    if len(rows) > 1:
        others = other_items(len(rows), settings.seed)
        floor["another row's summary"] = (rows[other].references[0] for other in others)
    with reporter.stage("Scoring", len(rows), "rows") as stage:

        def references() -> Iterator[Sequence[str]]:
            for row in rows:
                yield row.references
                stage.advance()

        swapped = (map(swap_speakers, texts) for texts in summaries)
        scores = score_all(
            [*summaries, *swapped, *floor.values()], references(),
            refs=settings.refs, tokenizer=tokenizer, seed=settings.seed,
        )  # fmt: skip
    count = len(summaries)
    return scores[:count], scores[count : 2 * count], dict(zip(floor, scores[2 * count :], strict=True))


def _warn(path: Path, measured: Score, floor: dict[str, Score], rows: Sequence[Dialogue], reporter: Reporter) -> None:
    if measured.empty:
        names = ", ".join(rows[index].fname for index in measured.empty_items[:SHOWN])
        more = f" and {measured.empty - SHOWN} more" if measured.empty > SHOWN else ""
        count = f"{measured.empty} prediction{'s' * (measured.empty > 1)}"
        reporter.warn(f"'{path}': {count} without a word (none, or only periods) score 0: {names}{more}")
    for name, each in floor.items():
        if measured.final_score < each.final_score:
            reporter.warn(f"'{path}' scores {measured.final_score:.2f}, below the {each.final_score:.2f} of {name}")


def _better(one: float, other: float) -> bool:
    return one > other + 1e-9  # sums in another order differ in their last bits


def _diagnose(texts: Sequence[str], rows: Sequence[Dialogue], tokenizer: Tokenizer) -> Iterator[ItemDiagnostics]:
    for text, row in zip(texts, rows, strict=True):
        yield diagnose(text, row.references, row.text, names=tokenizer.names)


def _system(
    path: Path,
    measured: Score,
    rows: Sequence[Dialogue],
    diagnostics: Diagnostics,
    compared: dict[str, Any],
    worst: list[WorstCase],
) -> SystemScore:
    return SystemScore(
        **{name: getattr(measured, name) for name in Scores.model_fields},
        path=str(path),
        n=measured.n,
        empty=measured.empty,
        empty_fnames=[rows[index].fname for index in measured.empty_items],
        by_refs=measured.by_refs,
        diagnostics=diagnostics,
        worst=worst,
        **compared,
    )


def _verify(
    settings: ScoreSettings,
    tokenizer: Tokenizer,
    references: Sequence[Sequence[str]],
    summaries: Sequence[Sequence[str]],
    scores: Sequence[Score],
) -> Verification:
    verified = [
        verify(measured, texts, references, refs=settings.refs, tokenizer=tokenizer)
        for measured, texts in zip(scores, summaries, strict=True)
    ]
    return Verification(pairs=sum(each.pairs for each in verified), raised=sum(each.raised for each in verified))


def _per_item(
    result: ScoreResult,
    diagnostics: Sequence[Iterator[ItemDiagnostics]],
    scores: Sequence[Score],
    swapped: Sequence[Score],
) -> str:
    """One row per system and item; no text of a dialogue or summary but the names, numbers and tags found."""
    assert result.items is not None
    findings = ("unknown_tags", "lost_tags", "broken_tags", "unsupported_names", "unsupported_numbers")
    shares = ("length_ratio", "repetition_rate", "tag_fidelity", "korean_ratio")
    names = ("rouge1", "rouge2", "rougeL", "final_score")
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["system", "fname", "topic", *names, "empty", "cut_off", "speaker_swap", "broken_characters", *shares,
         "foreign_scripts", *findings]
    )  # fmt: skip
    for system, rows, measured, exchanged in zip(result.systems, diagnostics, scores, swapped, strict=True):
        empty = set(measured.empty_items)
        for index, row in enumerate(rows):
            finals = measured.items.final_score[index], exchanged.items.final_score[index]
            writer.writerow(
                [
                    system.path, result.items.fnames[index], result.items.topics[index],
                    *(getattr(measured.items, name)[index] for name in names),
                    int(index in empty), int(row.cut_off), int(_better(finals[1], finals[0])), row.broken_characters,
                    *(getattr(row, name) for name in shares), " ".join(row.foreign_scripts or ()),
                    *(" ".join(getattr(row, name) or ()) for name in findings),
                ]
            )  # fmt: skip
    return buffer.getvalue()


def _page(result: ScoreResult, settings: ScoreSettings, rows: Sequence[Dialogue]) -> str:
    from dialsum_cli.reports.page import render
    from dialsum_cli.reports.score import score_page

    facts = [facts_of(str(path), rows).model_dump() for path in _inputs(settings)]  # the gold's, where it is the hub's
    page = score_page(
        result, settings=settings.model_dump(mode="json"), provenance=provenance(data=facts),
        interval=bootstrap_interval,
    )  # fmt: skip
    return render(page)
