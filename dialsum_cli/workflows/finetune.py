"""`dialsum finetune`: train models on dialogues with summaries, one after the other."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from dialsum_cli import registry
from dialsum_cli.data.dialogues import Dialogue, read_dialogues
from dialsum_cli.data.submissions import write_submission
from dialsum_cli.errors import one_line
from dialsum_cli.metrics.scoring import Score, Scorer
from dialsum_cli.prompts import load_prompt
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import QuietReporter, Reporter
from dialsum_cli.results import DataFacts, FinetuneResult, FinetuneRun, Scores
from dialsum_cli.runs import data_facts, file_name, new_folder, provenance, start_run
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.summarizer import Summarizer, Summary, collect

logger = logging.getLogger("dialsum")


def finetune(settings: FinetuneSettings, reporter: Reporter | None = None) -> FinetuneResult:
    """Fine-tune each model and score it on dev before and after; one that fails does not stop the others.

    Raises:
        RequestError: there is no such prompt, or a model that can't be fine-tuned.
        DataError: the training or dev data can't be read, or lack summaries.
    """
    from dialsum_cli.training.trainers import check_trainable

    reporter = reporter or QuietReporter()
    specs = [registry.resolve(name) for name in settings.models]
    for spec in specs:  # before hours of work, not after
        check_trainable(spec, settings)
    load_prompt(settings.prompt)
    train, dev = (
        read_dialogues(path, columns=settings.columns, references=True, note=reporter.note)
        for path in (settings.train, settings.dev)
    )
    facts = {"train": data_facts(settings.train, len(train)), "dev": data_facts(settings.dev, len(dev))}
    scorer = Scorer([dialogue.references for dialogue in dev], seed=settings.seed)
    runs = []
    for spec in specs:
        try:
            runs.append(_finetune_one(spec, settings, train, dev, facts, scorer, reporter))
        except Exception as error:  # whatever one model raises is its row, and the others go on
            logger.exception("%s failed", spec.name)
            line = one_line(error)
            reporter.warn(f"{spec.name} failed: {line}")
            runs.append(FinetuneRun(model=spec.name, status="failed", error=line))
    return FinetuneResult(runs=runs, signature=scorer.signature)


def _finetune_one(
    spec: ModelSpec,
    settings: FinetuneSettings,
    train: Sequence[Dialogue],
    dev: Sequence[Dialogue],
    facts: Mapping[str, DataFacts],
    scorer: Scorer,
    reporter: Reporter,
) -> FinetuneRun:
    from dialsum_cli.generation.engines import open_summarizer, peak_memory_gib
    from dialsum_cli.training.trainers import TRAINERS, check_trainable, resolve_recipe

    with open_summarizer(spec, settings.model_copy(update={"precision": "fp32"}), reporter) as (summarizer, loaded):
        check_trainable(loaded.spec, settings)  # now that its kind is known
        recipe = resolve_recipe(loaded.spec, settings)
        with start_run(new_folder(settings.output_dir / file_name(spec.name)), settings) as run:
            before, _ = _evaluate(summarizer, dev, scorer, reporter, f"{spec.name}: before")
            trained = TRAINERS["seq2seq"](loaded, train, recipe, settings, run.folder / "checkpoints", reporter)
            after, summaries = _evaluate(summarizer, dev, scorer, reporter, f"{spec.name}: after")
            loaded.model.save_pretrained(run.folder / "model")
            loaded.tokenizer.save_pretrained(run.folder / "model")
            rows = [(summary.fname, summary.text) for summary in summaries]
            write_submission(run.folder / "predictions.csv", rows, overwrite=True)
            run.write("history.csv", _history(trained.history))
            run.write_json(
                "provenance.json",
                provenance(
                    data={name: fact.model_dump() for name, fact in facts.items()},
                    model=spec.source,
                    revision=loaded.revision,
                    recipe=asdict(recipe),
                    metric=scorer.signature,
                ),
            )
            result = FinetuneRun(
                model=spec.name,
                run_dir=run.folder,
                trainer="seq2seq",
                trainable_parameters=trained.trainable_parameters,
                train_seconds=trained.seconds,
                tokens_per_second=trained.tokens_per_second,
                peak_memory_gib=peak_memory_gib(),
                before=_scores(before),
                after=_scores(after),
            )
            run.write("result.json", result.model_dump_json(indent=2))
    return result


def _evaluate(
    summarizer: Summarizer, dev: Sequence[Dialogue], scorer: Scorer, reporter: Reporter, title: str
) -> tuple[Score, list[Summary]]:
    with reporter.stage(title, len(dev), "dialogues") as stage:
        summaries = collect(summarizer, dev, lambda batch: stage.advance(len(batch.summaries)))
    return scorer.score([summary.text for summary in summaries]), summaries


def _scores(score: Score) -> Scores:
    return Scores(
        rouge1=score.rouge1,
        rouge2=score.rouge2,
        rougeL=score.rougeL,
        final_score=score.final_score,
        rouge_sum=score.rouge_sum,
        ci95=score.ci95,
    )


def _history(entries: Sequence[dict[str, float]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(
        buffer, ["step", "epoch", "loss", "learning_rate"], extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(entries)
    return buffer.getvalue()
