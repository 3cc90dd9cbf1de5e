"""`dialsum screen`: load each model in turn, summarise the data, score, rank."""

import logging
from collections.abc import Sequence
from statistics import fmean
from time import perf_counter

from dialsum_cli import registry
from dialsum_cli.data.dialogues import Dialogue, read_dialogues
from dialsum_cli.data.submissions import write_submission
from dialsum_cli.metrics.scoring import Score, Scorer
from dialsum_cli.models.baselines import BASELINES
from dialsum_cli.registry import ModelSpec
from dialsum_cli.results import LeaderboardRow, QuietReporter, Reporter, ScreenResult
from dialsum_cli.runs import Run, data_facts, file_name, new_folder, provenance, start_run
from dialsum_cli.settings import ScreenSettings
from dialsum_cli.summarizer import Summarizer, Summary, collect
from dialsum_cli.text import korean_ratio, tag_fidelity

logger = logging.getLogger("dialsum")


def screen(settings: ScreenSettings, reporter: Reporter | None = None) -> ScreenResult:
    """Rank models zero-shot on dialogues with references, baselines beneath.

    A model that fails is a row with its error; the others still run.

    Raises:
        DataError: the data can't be read, or has no references.
        DialsumError: the run folder can't be written.
    """
    reporter = reporter or QuietReporter()
    dialogues = read_dialogues(
        settings.data, columns=settings.columns, limit=settings.limit, references=True, note=reporter.note
    )
    facts = data_facts(settings.data, len(dialogues))
    scorer = Scorer([dialogue.references for dialogue in dialogues], seed=settings.seed)
    baselines = [name for name in registry.BASELINES if settings.baselines and (name != "random" or len(dialogues) > 1)]
    with start_run(new_folder(settings.output_dir), settings) as run:
        rows: list[LeaderboardRow] = []
        for name in dict.fromkeys([*settings.models, *baselines]):
            rows.append(_screen_one(registry.resolve(name), settings, dialogues, scorer, run, reporter))
        revisions = {row.model: row.revision for row in rows if row.revision}
        run.write_json(
            "provenance.json", provenance(data=facts.model_dump(), revisions=revisions, metric=scorer.signature)
        )
        result = ScreenResult(leaderboard=rank(rows), signature=scorer.signature, data=facts, run_dir=run.folder)
        run.write("result.json", result.model_dump_json(indent=2))
    return result


def _screen_one(
    spec: ModelSpec,
    settings: ScreenSettings,
    dialogues: Sequence[Dialogue],
    scorer: Scorer,
    run: Run,
    reporter: Reporter,
) -> LeaderboardRow:
    try:
        if spec.kind == "baseline":
            return _measure(spec, BASELINES[spec.name](settings.seed), settings, dialogues, scorer, run, reporter)
        from dialsum_cli.generation.engines import open_summarizer

        with open_summarizer(spec, settings, reporter) as (summarizer, loaded):
            row = _measure(loaded.spec, summarizer, settings, dialogues, scorer, run, reporter)
            return row.model_copy(
                update={
                    "parameters": loaded.parameters,
                    "layers": loaded.layers,
                    "revision": loaded.revision,
                    "precision": loaded.precision,
                }
            )
    except Exception as error:  # whatever a model's own code raises is its row, and the others go on
        logger.exception("%s failed", spec.name)
        line = " ".join(str(error).split()) or type(error).__name__
        reporter.warn(f"{spec.name} failed: {line}")
        return LeaderboardRow(rank=None, model=spec.name, kind=spec.kind, status="failed", error=line)


def _measure(
    spec: ModelSpec,
    summarizer: Summarizer,
    settings: ScreenSettings,
    dialogues: Sequence[Dialogue],
    scorer: Scorer,
    run: Run,
    reporter: Reporter,
) -> LeaderboardRow:
    start = perf_counter()
    if spec.kind == "baseline":
        summaries = collect(summarizer, dialogues, lambda summary: None)
    else:
        with reporter.stage(spec.name, len(dialogues), "dialogues") as stage:
            summaries = collect(summarizer, dialogues, lambda summary: stage.advance())
    seconds = perf_counter() - start
    predictions = run.folder / "predictions" / f"{file_name(spec.name)}.csv"
    write_submission(predictions, ((summary.fname, summary.text) for summary in summaries), overwrite=True)
    return _row(spec, dialogues, summaries, scorer.score([summary.text for summary in summaries]), seconds)


def _row(
    spec: ModelSpec, dialogues: Sequence[Dialogue], summaries: Sequence[Summary], score: Score, seconds: float
) -> LeaderboardRow:
    pairs = [(summary.text, dialogue.text) for summary, dialogue in zip(summaries, dialogues, strict=True)]
    fidelities = [share for text, dialogue in pairs if (share := tag_fidelity(text, dialogue)) is not None]
    generated = spec.kind != "baseline"
    return LeaderboardRow(
        rank=None,
        model=spec.name,
        kind=spec.kind,
        rouge1=score.rouge1,
        rouge2=score.rouge2,
        rougeL=score.rougeL,
        final_score=score.final_score,
        rouge_sum=score.rouge_sum,
        ci95=score.ci95,
        korean_ratio=fmean(korean_ratio(text, dialogue) for text, dialogue in pairs),
        tag_fidelity=fmean(fidelities) if fidelities else None,
        empty=score.empty,
        truncated=sum(summary.truncated for summary in summaries) if generated else None,
        prompts_truncated=sum(summary.prompt_truncated for summary in summaries) if generated else None,
        seconds=seconds if generated else None,
        dialogues_per_second=len(dialogues) / seconds if generated else None,
    )


def rank(rows: Sequence[LeaderboardRow]) -> list[LeaderboardRow]:
    """The rows best first, failures last; models below the best baseline are marked."""
    floor = max((row.final_score or 0.0 for row in rows if row.kind == "baseline"), default=0.0)
    scored = sorted((row for row in rows if row.final_score is not None), key=lambda row: -(row.final_score or 0.0))
    ranked = [
        row.model_copy(
            update={
                "rank": place,
                "below_baseline": row.kind != "baseline" and (row.final_score or 0.0) < floor,
            }
        )
        for place, row in enumerate(scored, 1)
    ]
    return ranked + [row for row in rows if row.final_score is None]
