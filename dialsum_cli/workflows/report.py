"""`dialsum report`: run folders side by side on one page, and in an experiment log."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dialsum_cli.data.dialogues import Dialogue, facts_of, read_dialogues
from dialsum_cli.data.submissions import align, read_submission
from dialsum_cli.data.template import read_layout
from dialsum_cli.data.writing import Layout, check_place
from dialsum_cli.errors import DataError, RequestError
from dialsum_cli.metrics.differences import lowest
from dialsum_cli.metrics.morphemes import tokenizer
from dialsum_cli.metrics.scoring import Score, Scorer
from dialsum_cli.metrics.statistics import against
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.reports.folders import RunFolder, System, asked, files_of, read_run, remarks, systems_of
from dialsum_cli.reports.log import read_log, rows_of, updated
from dialsum_cli.reports.page import render
from dialsum_cli.reports.runs import Lowest, runs_page
from dialsum_cli.results import (
    PredictResult,
    ReportedRun,
    ReportedSystem,
    ReportResult,
    Scores,
)
from dialsum_cli.runs import data_facts, write_atomically
from dialsum_cli.settings import ReportSettings


def report(settings: ReportSettings, reporter: Reporter = QUIET) -> ReportResult:
    """Write a page of runs, and with `markdown` their rows of an experiment log.

    Summaries that are still there are scored again, all by one ruler, and compared where they are of the same data.

    Raises:
        DataError: a folder is no run, a file in one is damaged, or the Markdown file is no such log.
        RequestError: the page exists; or page or log can't be written, is the other one, or would replace what a run
            holds, has read or has written.
        MissingPartError: Mecab isn't installed as it has to be.
        DialsumError: Mecab's dictionary is another one, or a file can't be written.
    """
    if settings.markdown and settings.markdown.resolve() == settings.output.resolve():
        raise RequestError(f"'{settings.output}' can't be both page and log", "give --output another name")
    runs = [path for path in settings.run_dirs if path.name != "summaries" or (path / "settings.yaml").exists()]
    for path in {*settings.run_dirs} - {*runs} if runs else ():  # of a shell's runs/screen/*
        reporter.note(f"'{path}' is no run, but keeps what runs have summarised: left out")
    folders = [read_run(path) for path in runs or settings.run_dirs]
    read = [path for folder in folders for path in files_of(folder)]
    check_place(settings.output, overwrite=settings.overwrite, read=read)
    if settings.markdown:
        check_place(settings.markdown, overwrite=True, read=read)
        updated(read_log(settings.markdown), {}, str(settings.markdown))  # refuses what is no log before any work
    bench = _Bench(settings)
    boards: dict[tuple[object, ...], list[System]] = {}
    for system in (each for folder in folders for each in systems_of(folder)):
        boards.setdefault(system.board, []).append(system)
    with reporter.stage("Scoring", len(boards), "data sets") as stage:
        for systems in boards.values():
            bench.judge(systems)
            stage.advance()
    notes = [note for folder in folders for note in remarks(folder)] + bench.notes
    if len(boards) > 1:
        listed = "; ".join(systems[0].label for systems in boards.values())
        notes.append(f"Scores on other data don't compare, and no test is made between them: {listed}.")
    result = ReportResult(
        output=settings.output, markdown=settings.markdown, runs=[_run(each, bench.rows) for each in folders],
        systems=bench.rows, notes=notes,
    )  # fmt: skip
    write_atomically(settings.output, render(runs_page(result, folders, bench.lowest)), overwrite=settings.overwrite)
    if settings.markdown:
        log = read_log(settings.markdown)  # in which somebody may have written meanwhile
        content = updated(log, dict(rows_of(result.runs, settings.markdown)), str(settings.markdown))
        write_atomically(settings.markdown, content, overwrite=True)
    return result


@dataclass(slots=True)
class _Bench:
    """Scores and compares; keeps what it finds, and notes what it can't."""

    settings: ReportSettings
    rows: list[ReportedSystem] = field(default_factory=list)
    lowest: list[Lowest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def judge(self, systems: Sequence[System]) -> None:
        """Systems of the same data; a baseline that several runs have counts once."""
        known_baselines: set[tuple[str, ...]] = set()
        gold = self._gold(systems) if any(system.file for system in systems) else []
        scorer = Scorer([each.references for each in gold], seed=self.settings.seed) if gold else None
        scored: list[tuple[ReportedSystem, Score | None]] = []
        for system in systems:
            texts = self._texts(system, gold)
            if system.baseline and texts:
                if tuple(texts) in known_baselines:
                    continue
                known_baselines.add(tuple(texts))
            score = scorer.score(texts) if scorer and texts else None
            if known := score or system.recorded:
                scored.append((_reported(system, known, systems[0].label), score))
            if score:
                self._look(system, score, texts, gold)
        scored.sort(key=lambda each: -each[0].final_score)
        self.rows += _compared(scored, self.settings.seed)

    def _gold(self, systems: Sequence[System]) -> list[Dialogue]:
        """The dialogues with their references, from where any of the systems had them; none where they have changed."""
        reasons = []
        for facts in {system.data.path: system.data for system in systems}.values():
            try:
                gold = read_dialogues(facts.path, columns=systems[0].gold_columns, limit=facts.rows, references="equal")
                if facts_of(facts.path, gold).sha256 == facts.sha256:
                    return gold
                reasons.append(f"'{facts.path}' has changed since")
            except (OSError, DataError) as error:
                reasons.append(_reason(error))
        self.notes.append(f"{systems[0].label}: no test and no worst cases, as {'; '.join(reasons)}.")
        return []

    def _texts(self, system: System, gold: Sequence[Dialogue]) -> list[str]:
        """A system's summaries in the order of the gold; none where they aren't what they were."""
        if not system.file or not gold:
            return []
        try:
            result = system.run.result
            if isinstance(result, PredictResult) and data_facts(system.file, 0).sha256 != result.sha256:
                raise DataError(f"'{system.file}' has changed since")
            layout = read_layout(system.template) if system.template else Layout()
            columns = {"fname": layout.fname, "summary": layout.summary}
            summaries = read_submission(system.file, columns=columns)
            return align(system.file, summaries, [each.fname for each in gold], system.data.path)
        except (OSError, DataError) as error:
            self.notes.append(f"{system.model} of {system.run.path}: no test and no worst cases, as {_reason(error)}.")
            return []

    def _look(self, system: System, score: Score, texts: Sequence[str], gold: Sequence[Dialogue]) -> None:
        """Whether the score is what it was; and the lowest ones."""
        if system.recorded and abs(system.recorded.final_score - score.final_score) > 0.005:
            self.notes.append(
                f"{system.model} of {system.run.path}: {score.final_score:.2f} by {score.signature}, where its run "
                f"says {system.recorded.final_score:.2f}."
            )
        if not system.baseline and self.settings.worst:
            worst = lowest(texts, gold, score.items.final_score, self.settings.worst, tokenizer("mecab"))
            cases = [(case, gold[case.index]) for case in worst]
            self.lowest.append(Lowest(str(system.run.path), system.model, len(gold), cases))


def _reason(error: Exception) -> str:
    return f"'{error.filename}' isn't to be found from here" if isinstance(error, FileNotFoundError) else str(error)


def _reported(system: System, scores: Scores | Score, data: str) -> ReportedSystem:
    return ReportedSystem(
        **{name: getattr(scores, name) for name in Scores.model_fields}, run=system.run.path, model=system.model,
        baseline=system.baseline, data=data, rows=system.held_out or system.data.rows,
    )  # fmt: skip


def _compared(scored: Sequence[tuple[ReportedSystem, Score | None]], seed: int) -> list[ReportedSystem]:
    """The systems, those of which each score is known held beside the best of these."""
    rows = [system for system, _ in scored]
    if known := [index for index, (_, score) in enumerate(scored) if score]:
        best, *others = (score.items.final_score for _, score in scored if score)
        for index, compared in zip(known[1:], against(best, others, seed=seed), strict=True):
            rows[index] = rows[index].model_copy(update=compared)
    return rows


def _run(run: RunFolder, rows: Sequence[ReportedSystem]) -> ReportedRun:
    mine = {row.model: row for row in rows if row.run == run.path and not row.baseline}
    spoken = next((mine[each.model] for each in systems_of(run) if each.model in mine), None)
    return ReportedRun(
        folder=run.path, command=run.command, finished=run.result is not None, created=run.created,
        model=spoken.model if spoken else asked(run), systems=len(mine), data=run.data,
        final_score=spoken.final_score if spoken else None, ci95=spoken.ci95 if spoken else None,
        settings=dict(run.settings),
    )  # fmt: skip
