"""`dialsum finetune`: train models on dialogues with summaries, one after the other."""

import logging
from typing import TYPE_CHECKING

from dialsum_cli import processes, registry
from dialsum_cli.caches.downloads import Before, forget_downloads
from dialsum_cli.data.checks import check_data
from dialsum_cli.data.dialogues import facts_of, read_dialogues
from dialsum_cli.data.submissions import columns_by_file
from dialsum_cli.errors import DataError, DialsumError, RequestError, one_line
from dialsum_cli.metrics.scoring import CONSTANT_SENTENCE, Scorer
from dialsum_cli.prompts import load_prompt
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import LEVEL, DataFacts, FinetuneResult, FinetuneRun
from dialsum_cli.scoreboard import FEW, p_is
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.tracking import Tracking

if TYPE_CHECKING:
    from dialsum_cli.training.job import Job

logger = logging.getLogger("dialsum")


def finetune(settings: FinetuneSettings, reporter: Reporter = QUIET) -> FinetuneResult:
    """Fine-tune each model and score it on dev before and after; one that fails does not stop the others.

    A run that was left unfinished is taken up again by the same command. The processes of an `accelerate launch` share
    the work; the first one reports, scores and writes, and all of them return the result.

    Raises:
        RequestError: there is no such prompt, or a model that can't be fine-tuned.
        DataError: the training or dev data can't be read, lack summaries, or are others on another host.
    """
    reporter = reporter if processes.is_first() else QUIET
    try:
        specs, job = _prepared(settings, reporter)
        processes.wait()
    except processes.ElsewhereError as error:
        raise DialsumError(str(error), "see to it there, and run the same command again") from None
    except DialsumError as error:
        processes.failed(one_line(error))
        raise
    there = Before.take() if settings.delete_cache and processes.is_first() else None
    runs = []
    for spec in specs:
        try:
            run = job.finetune_one(spec)
            processes.wait()  # a model that failed in one process has failed in all
            runs.append(run)
        except Exception as error:  # whatever one model raises is its row, and the others go on
            line = one_line(error)
            if not isinstance(error, processes.ElsewhereError):
                processes.failed(line)
            logger.exception("%s failed", spec.name)
            reporter.warn(f"{spec.name} failed: {line}")
            runs.append(FinetuneRun(model=spec.name, status="failed", error=line))
        if processes.is_first():
            forget_downloads(spec.name, spec.source, there, reporter)
    constant = job.scorer.score([CONSTANT_SENTENCE] * len(job.dev))
    result = FinetuneResult(runs=runs, signature=constant.signature, floor={"constant sentence": constant.final_score})
    for run in runs:
        _warn(run, constant.final_score, reporter)
    return result


def _warn(run: FinetuneRun, constant: float, reporter: Reporter) -> None:
    """Say so where a training was for nothing, or where nobody can tell."""
    if run.before is None or run.after is None or run.p_value is None:
        return
    before = f"{run.before.final_score:.2f} before"
    after = f"{run.model} scores {run.after.final_score:.2f} after training"
    rows = (run.wins or 0) + (run.ties or 0) + (run.losses or 0)
    if rows == run.ties:
        reporter.warn(f"{after}, as before: it has learnt nothing that its summaries show; raise --learning-rate")
    elif run.p_value >= LEVEL:
        chance = f"{rows} dialogues are too few to tell" if rows < FEW else f"that may be chance, {p_is(run.p_value)}"
        reporter.warn(f"{after}, {before}: {chance}")
    elif run.after.final_score < run.before.final_score:
        reporter.warn(f"{after}, {before}: lower --learning-rate, or train on more rows")
    if run.after.final_score < constant:
        reporter.warn(f"{after}, below the {constant:.2f} of one sentence for every dialogue")


def _prepared(settings: FinetuneSettings, reporter: Reporter) -> tuple[list[ModelSpec], "Job"]:
    """The models, and what all of them share; whatever is wrong with either is said before hours of work."""
    from dialsum_cli.engines.choice import tell_prompt
    from dialsum_cli.training.job import Job
    from dialsum_cli.training.methods import check_trainable

    if processes.count() > processes.count_here() and (settings.delete_cache or settings.disk_limit):
        raise RequestError(
            "--delete-cache and --disk-limit are for one host: no process knows the disks of the others",
            "leave them out",
        )
    specs = [registry.resolve(name) for name in settings.models]
    for spec in specs:
        check_trainable(spec, settings)
    load_prompt(settings.prompt)
    tell_prompt(settings, specs, reporter)
    columns = columns_by_file((settings.train, settings.dev), settings.columns, reporter.note)
    train = read_dialogues(settings.train, columns=columns[settings.train], references=True, note=reporter.note)
    dev = read_dialogues(settings.dev, columns=columns[settings.dev], references="equal", note=reporter.note)
    facts = {"train": facts_of(settings.train, train), "dev": facts_of(settings.dev, dev)}
    _check_launch(facts)
    scorer = Scorer([dialogue.references for dialogue in dev], seed=settings.seed)
    tracked = settings if processes.is_first() else settings.model_copy(update={"wandb": "off"})
    if processes.is_first() and (checks := check_data(train, dev)).findings:
        reporter.preview(checks)
    kept = settings.output_dir / "summaries"
    return specs, Job(settings, train, dev, facts, scorer, Tracking(tracked, reporter), reporter, kept)


def _check_launch(facts: dict[str, DataFacts]) -> None:
    """Refuse a launch whose processes have not a GPU each, or would train on different data.

    Raises:
        RequestError, DataError: as said.
    """
    if processes.count() == 1:
        return
    import torch

    here, gpus = processes.count_here(), torch.cuda.device_count()
    if 0 < gpus < here:
        raise RequestError(f"{here} processes would share {gpus} GPU{'s' * (gpus > 1)}", f"--num_processes {gpus}")
    if facts != processes.told(facts):
        raise DataError(
            f"process {processes.number()} reads other data than the first one", "give all hosts the same files"
        )
