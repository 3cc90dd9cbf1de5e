"""`dialsum screen`: load each model in turn, summarise the data, score, rank."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from dialsum_cli import processes, registry
from dialsum_cli.caches.downloads import Before, check_disk_limit, forget_downloads
from dialsum_cli.data.dialogues import Dialogue, facts_of, read_dialogues
from dialsum_cli.data.writing import write_submission
from dialsum_cli.engines.choice import check_engine, open_engine, tell_prompt
from dialsum_cli.engines.shared import led, resumed
from dialsum_cli.errors import duration, one_line
from dialsum_cli.metrics.scoring import Score, Scorer
from dialsum_cli.metrics.statistics import compare, holm
from dialsum_cli.models.baselines import BASELINES
from dialsum_cli.prompts import load_prompt
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import LEVEL, LeaderboardRow, PreflightResult, PreflightRow, ScreenResult
from dialsum_cli.runs import Run, file_name, new_folder, provenance, start_run
from dialsum_cli.settings import ScreenSettings, parse_bytes
from dialsum_cli.store import SummaryStore
from dialsum_cli.summarizer import Batch, Summary, collect
from dialsum_cli.text import korean_ratio, tag_fidelity
from dialsum_cli.tracking import Tracker, tracked

logger = logging.getLogger("dialsum")
LONG = 600  # seconds of generation from which on an estimate is a warning


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the leaderboard, and the items' final scores that its rank rests on; empty where it has none."""

    row: LeaderboardRow
    items: Sequence[float] = ()


@led
def screen(settings: ScreenSettings, reporter: Reporter = QUIET) -> ScreenResult:
    """Rank models zero-shot on dialogues with references, baselines beneath.

    A model that fails is a row with its error; the others still run. Summaries are kept under `output_dir/summaries`
    as they are made, and never made again.

    Raises:
        RequestError: there is no such prompt.
        DataError: the data can't be read, or has no references; or the prompt can't be used.
        DialsumError: the run folder can't be written.
    """
    check_engine(settings)
    load_prompt(settings.prompt)  # before hours of work, not after
    dialogues = read_dialogues(
        settings.data, columns=settings.columns, limit=settings.limit, references="equal", note=reporter.note
    )
    facts = facts_of(settings.data, dialogues)
    scorer = Scorer([dialogue.references for dialogue in dialogues], seed=settings.seed)
    baselines = [name for name in registry.BASELINES if settings.baselines and (name != "random" or len(dialogues) > 1)]
    names = baselines if settings.served else [*settings.models, *baselines]
    specs = [*dict.fromkeys(map(registry.resolve, names))]
    if settings.served and settings.api_model:
        specs.insert(0, registry.served(settings.api_model))
    before = Before.take() if settings.delete_cache else None
    with (
        start_run(new_folder(settings.output_dir), settings) as run,
        tracked("screen", run.folder, settings, reporter) as tracker,
    ):
        specs = _preflight(specs, settings, reporter)
        tell_prompt(settings, specs, reporter)
        job = _Job(settings, dialogues, scorer, run, reporter, tracker, before)
        rows = rank([job.screen_one(spec) for spec in specs], seed=settings.seed)
        revisions = {row.model: row.revision for row in rows if row.revision}
        run.write_json(
            "provenance.json",
            provenance(
                data=facts.model_dump(), revisions=revisions, metric=scorer.signature, processes=processes.count()
            ),
        )
        result = ScreenResult(leaderboard=rows, signature=scorer.signature, data=facts, run_dir=run.folder)
        run.write("result.json", result.to_json())
        tracker.failed = result.failed
        tracker.summarise({f"{row.model}/{name}": value for row in rows for name, value in row.model_dump().items()})
    return result


def _preflight(specs: Sequence[ModelSpec], settings: ScreenSettings, reporter: Reporter) -> list[ModelSpec]:
    """Show what each model will need; returns the models, those of the hub pinned to the commit that they have now."""
    pinned, rows = [], []
    for spec in specs:
        if spec.kind in ("baseline", "api"):
            pinned.append(spec)
            continue
        from dialsum_cli.models.preflight import preflight

        try:
            spec, row = preflight(spec, settings)
        except Exception as error:  # its own load says so again, and makes it a row of the leaderboard
            logger.info("no pre-flight estimate for %s", spec.name, exc_info=True)
            row = PreflightRow(model=spec.name, note=" ".join(str(error).split()))
        pinned.append(spec)
        rows.append(row)
    if rows:
        reporter.preview(PreflightResult(models=rows))
    return pinned


@dataclass(frozen=True, slots=True)
class _Job:
    """What all models of a screening share."""

    settings: ScreenSettings
    dialogues: Sequence[Dialogue]
    scorer: Scorer
    run: Run
    reporter: Reporter
    tracker: Tracker
    before: Before | None  # of the hub's cache, where downloads are to be deleted again

    def screen_one(self, spec: ModelSpec) -> Entry:
        """A model's entry, whatever becomes of it."""
        entry = self._screen(spec)
        forget_downloads(spec.name, spec.source, self.before, self.reporter)
        return entry

    def _screen(self, spec: ModelSpec) -> Entry:
        try:
            if spec.kind == "baseline":
                summaries = collect(BASELINES[spec.name](self.settings.seed), self.dialogues, lambda batch: None)
                return self._score(LeaderboardRow(rank=None, model=spec.name, kind=spec.kind), summaries)
            return self._generate(spec)
        except Exception as error:  # whatever a model's own code raises is its row, and the others go on
            logger.exception("%s failed", spec.name)
            line = one_line(error)
            self.reporter.warn(f"{spec.name} failed: {line}")
            return Entry(LeaderboardRow(rank=None, model=spec.name, kind=spec.kind, status="failed", error=line))

    def _generate(self, spec: ModelSpec) -> Entry:
        total = len(self.dialogues)
        if self.settings.disk_limit is not None and spec.kind != "api":
            from dialsum_cli.models.preflight import download_bytes

            limit = parse_bytes(self.settings.disk_limit)
            check_disk_limit(limit, download_bytes(spec), spec.name, self.settings.output_dir)
        with open_engine(spec, self.settings, self.reporter) as (summarizer, loaded):
            row = LeaderboardRow(
                rank=None,
                model=spec.name,
                kind=loaded.spec.kind,
                parameters=loaded.parameters,
                layers=loaded.layers,
                revision=loaded.revision,
                prompt=summarizer.prompt_name,
                precision=loaded.precision,
                decoding=summarizer.decoding,
            )
            store = SummaryStore(self.settings.output_dir / "summaries", summarizer.ingredients())
            watch = _Watch(spec.name, loaded.layers, total, self.settings.max_minutes_per_model, self.reporter)
            try:
                with self.reporter.stage(spec.name, total, "dialogues") as stage:

                    def done(batch: Batch) -> None:
                        stage.advance(len(batch.summaries))
                        watch.see(batch)

                    summaries = collect(resumed(summarizer, store), self.dialogues, done)
            except _TimeUp as stop:
                self.reporter.warn(f"{spec.name} stopped: {stop}")
                return Entry(row.model_copy(update={**watch.measured(), "status": "stopped", "error": str(stop)}))
        cut = {
            "truncated": sum(summary.truncated for summary in summaries),
            "prompts_truncated": sum(summary.prompt_truncated for summary in summaries),
        }
        return self._score(row.model_copy(update={**watch.measured(), **cut}), summaries)

    def _score(self, row: LeaderboardRow, summaries: Sequence[Summary]) -> Entry:
        predictions = self.run.folder / "predictions" / f"{file_name(row.model)}.csv"
        write_submission(predictions, ((summary.fname, summary.text) for summary in summaries), overwrite=True)
        self.tracker.log_texts(
            f"summaries-{file_name(row.model)}",
            ("fname", "dialogue", "summary"),
            [(each.fname, each.text, summary.text) for each, summary in zip(self.dialogues, summaries, strict=True)],
        )
        score = self.scorer.score([summary.text for summary in summaries])
        return Entry(row.model_copy(update=_scores(self.dialogues, summaries, score)), score.items.final_score)


class _TimeUp(Exception):  # noqa: N818 - nothing went wrong
    """A model has had its minutes."""


@dataclass(slots=True)
class _Watch:
    """Adds up what a model's batches took, tells after this run's second one how long all will take, ends it in time.

    The first batch is left out of the rate: it pays for warming up.
    """

    name: str
    layers: int | None
    total: int
    max_minutes: float | None
    reporter: Reporter
    summaries: int = 0
    seconds: float = 0.0
    estimated_seconds: float | None = None
    peak_memory_gib: float | None = None
    batch_tokens: int | None = None
    prompt_tokens: int | None = None
    summary_tokens: int | None = None
    fresh: list[float] = field(default_factory=list)  # seconds of this run's own batches

    def see(self, batch: Batch) -> None:
        """Count a batch.

        Raises:
            _TimeUp: there is work left, and no time.
        """
        self.summaries += len(batch.summaries)
        self.seconds += batch.seconds
        if batch.peak_memory_gib is not None:
            self.peak_memory_gib = max(self.peak_memory_gib or 0.0, batch.peak_memory_gib)
        self.batch_tokens = batch.batch_tokens
        if batch.prompt_tokens is not None:
            self.prompt_tokens = (self.prompt_tokens or 0) + batch.prompt_tokens
        if batch.summary_tokens is not None:
            self.summary_tokens = (self.summary_tokens or 0) + batch.summary_tokens
        if batch.reused:
            self.reporter.note(f"{self.name}: {len(batch.summaries)} summaries are there from an earlier run")
            return
        self.fresh.append(batch.seconds)
        if len(self.fresh) == 2 and batch.work_left > 0:
            self._tell(batch.seconds * batch.work_left)
        if self.max_minutes is not None and sum(self.fresh) >= 60 * self.max_minutes and batch.work_left > 0:
            raise _TimeUp(
                f"{self.summaries} of {self.total} dialogues after {sum(self.fresh) / 60:.1f} minutes; "
                "the same command goes on from there"
            )

    def _tell(self, left: float) -> None:
        self.estimated_seconds = self.seconds + left
        depth = f", {self.layers} layers deep," if self.layers else ""
        line = f"{self.name}{depth} will take about {duration(left)} more, judging by its first two batches"
        limited = self.max_minutes is not None and sum(self.fresh) + left > 60 * self.max_minutes
        if left > LONG or limited:
            self.reporter.warn(f"{line}; " + ("it will be stopped" if limited else "--max-minutes-per-model stops it"))
        else:
            self.reporter.note(line)

    def measured(self) -> dict[str, object]:
        """The row's measurements by their names."""
        return {
            "summaries": self.summaries,
            "seconds": self.seconds,
            "dialogues_per_second": self.summaries / self.seconds if self.seconds else None,
            "estimated_seconds": self.estimated_seconds,
            "peak_memory_gib": self.peak_memory_gib,
            "batch_tokens": self.batch_tokens,
            "prompt_tokens": self.prompt_tokens,
            "summary_tokens": self.summary_tokens,
        }


def _scores(dialogues: Sequence[Dialogue], summaries: Sequence[Summary], score: Score) -> dict[str, object]:
    pairs = [(summary.text, dialogue.text) for summary, dialogue in zip(summaries, dialogues, strict=True)]
    fidelities = [share for text, dialogue in pairs if (share := tag_fidelity(text, dialogue)) is not None]
    names = ("rouge1", "rouge2", "rougeL", "final_score", "rouge_sum", "ci95", "empty")
    return {name: getattr(score, name) for name in names} | {
        "summaries": len(summaries),
        "korean_ratio": fmean(korean_ratio(text, dialogue) for text, dialogue in pairs),
        "tag_fidelity": fmean(fidelities) if fidelities else None,
    }


def rank(entries: Sequence[Entry], *, seed: int = 42) -> list[LeaderboardRow]:
    """The rows best first, those without scores last; ties with the best and what is below a baseline are marked."""
    scored = sorted((entry for entry in entries if entry.items), key=lambda entry: -(entry.row.final_score or 0.0))
    floor = max((entry.row.final_score or 0.0 for entry in scored if entry.row.kind == "baseline"), default=0.0)
    p_values = holm([compare(entry.items, scored[0].items, seed=seed).p_value for entry in scored[1:]])
    marked = [
        entry.row.model_copy(
            update={
                "rank": place,
                "tied_with_best": p_value >= LEVEL,
                "below_baseline": entry.row.kind != "baseline" and (entry.row.final_score or 0.0) < floor,
            }
        )
        for place, (entry, p_value) in enumerate(zip(scored, [1.0, *p_values], strict=False), 1)
    ]
    return marked + [entry.row for entry in entries if not entry.items]
