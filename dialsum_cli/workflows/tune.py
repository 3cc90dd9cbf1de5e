"""`dialsum tune`: search for options with which a model writes better, and tell whether it does."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from dialsum_cli import registry
from dialsum_cli.data.checks import check_data
from dialsum_cli.data.dialogues import Dialogue, facts_of, read_dialogues
from dialsum_cli.data.submissions import columns_by_file
from dialsum_cli.engines.choice import refuse, tell_prompt
from dialsum_cli.errors import RequestError
from dialsum_cli.metrics.scoring import Scorer
from dialsum_cli.prompts import load_prompt
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import DataFacts, TunedStage, TuneResult, TuneTrial
from dialsum_cli.runs import Run, claim, file_name, provenance, start_run
from dialsum_cli.settings import (
    DECODING,
    TRAINING,
    Range,
    RecipeSettings,
    SamplingSettings,
    Settings,
    TrackingSettings,
    TrainingSettings,
    TuneSettings,
)
from dialsum_cli.tracking import Tracker, Tracking, command_label, run_config
from dialsum_cli.tuning import spaces
from dialsum_cli.tuning.halves import halves
from dialsum_cli.tuning.search import Bench, leader, search
from dialsum_cli.tuning.spaces import Options, Space
from dialsum_cli.tuning.study import Study, Trial, check_installed
from dialsum_cli.tuning.verdict import best_yaml, judged

if TYPE_CHECKING:
    from dialsum_cli.models.loading import Checkpoint

StageName = Literal["decoding", "training"]
STAGES: Mapping[str, tuple[StageName, ...]] = {
    "decoding": ("decoding",), "training": ("training",), "both": ("decoding", "training"),
}  # fmt: skip
KNOWN = {"decoding": DECODING, "training": TRAINING}
# Options that change nothing of what is found: an unfinished search goes on with any of them.
ASIDE = {
    *("config", "model", "train", "dev", "output_dir", "resume", "trials", "batch_tokens"),
    *("keep_checkpoints", "checkpoint_minutes", "prompt", "space", *TrackingSettings.model_fields),
}


def tune(settings: TuneSettings, reporter: Reporter = QUIET) -> TuneResult:
    """Try options for a model on one half of dev, and hold the best of them beside the starting point on the other.

    A search that was left unfinished is taken up again by the same command.

    Raises:
        RequestError: options that mean nothing to the stage or the model, or a baseline.
        DataError: the data can't be read, lack summaries, or dev is too small to be halved.
        MissingPartError: Optuna isn't installed.
        DialsumError: the model can't be loaded, the run folder not be written, or the starting point not be measured.
    """
    from dialsum_cli.models.loading import open_checkpoint
    from dialsum_cli.models.trained import OPTIONS, as_trained

    check_installed()
    _check(settings)
    spec = registry.resolve(settings.model)
    if spec.kind == "baseline":
        raise RequestError(f"'{spec.name}' is a baseline: it has nothing to tune", "name a model")
    files = (settings.dev,) if settings.stage == "decoding" else (settings.dev, settings.train)
    columns = columns_by_file(files, settings.columns, reporter.note)
    dev = read_dialogues(
        settings.dev, columns=columns[settings.dev], limit=settings.limit, references="equal", note=reporter.note
    )
    seen, unseen = halves(dev)
    facts, train = {"dev": facts_of(settings.dev, dev)}, list[Dialogue]()
    if settings.stage != "decoding":
        train = read_dialogues(settings.train, columns=columns[settings.train], references=True, note=reporter.note)
        facts["train"] = facts_of(settings.train, train)
        if (checks := check_data(train, dev)).findings:
            reporter.preview(checks)
    checkpoint = open_checkpoint(spec)
    tell_prompt(settings, [checkpoint.spec], reporter, f"{spec.name} is none")
    asked, _ = as_trained(settings, checkpoint.source.folder)  # `open_summarizer` tells of the difference
    trained = (checkpoint.source.folder / OPTIONS).is_file()
    plans = {stage: _plan(stage, asked, checkpoint, trained=trained) for stage in STAGES[settings.stage]}
    configuration = {
        "model": checkpoint.spec.source,
        "weights": [each.identity() for each in dict.fromkeys((checkpoint.source, checkpoint.base))],
        **{name: fact.sha256 for name, fact in facts.items()},
        **{name: value for name, value in asked.model_dump(mode="json").items() if name not in ASIDE},
        "prompt": asdict(load_prompt(asked.prompt)),
        "plans": {stage: [start, _plain(space)] for stage, (start, space) in plans.items()},
    }
    tracking = Tracking(settings, reporter)
    label, config = command_label("tune", datetime.now(), checkpoint.spec), run_config(settings, checkpoint.spec)
    with (
        claim(settings.output_dir / file_name(spec.name), configuration, resume=settings.resume) as folder,
        start_run(folder, settings, claimed=True) as run,
        tracking.run(folder, label, config) as tracker,
    ):
        data, source = {name: fact.model_dump() for name, fact in facts.items()}, checkpoint.source
        origin = provenance(data=data, model=checkpoint.spec.source, revision=source.revision)
        run.write_json("provenance.json", origin)
        job = _Job(asked, checkpoint, seen, unseen, train, facts, run, tracking, tracker, reporter)
        stages: list[TunedStage] = []
        for stage, (start, space) in plans.items():
            tuned, best = job.tune(stage, start, space, sum(len(each.trials) for each in stages))
            stages.append(tuned)
            if stage == "decoding":  # a training after it is judged by summaries that are written so
                job = replace(job, settings=job.settings.model_copy(update=dict(best)))
        result = TuneResult(
            model=spec.name, stages=stages, signature=job.scorer(unseen).signature, data=facts["dev"],
            report=folder / "report.html", run_dir=folder,
        )  # fmt: skip
        _write(result, run)
        tracker.summarise(
            {f"{each.stage}/{name}": value for each in stages for name, value in each.model_dump().items()}
        )
    return result


def _check(settings: TuneSettings) -> None:
    """Refuse what would have to be ignored, before any work."""
    stages = STAGES[settings.stage]
    ignored: list[type[Settings]] = [RecipeSettings, TrainingSettings]
    if settings.stage != "decoding":  # a training is judged by the summaries that its model finds likeliest
        ignored = [SamplingSettings]
    names = {name for group in ignored for name in group.model_fields} - {*Settings.model_fields}
    train = {"train"} if settings.stage == "decoding" else set()
    refuse(settings, sorted(names | train), f"--stage {settings.stage}", "leave one of them out")
    for name in settings.space:
        if name in names or not any(name in KNOWN[stage] for stage in stages):
            raise RequestError(f"--space: {name} means nothing to --stage {settings.stage}", "leave one of them out")
    for prompt in {settings.prompt, *settings.space.get("prompt", [])}:
        load_prompt(prompt)


def _plan(
    stage: StageName, settings: TuneSettings, checkpoint: "Checkpoint", *, trained: bool
) -> tuple[dict[str, Any], Space]:
    """The starting point of a stage, which is all of its options, and what is tried in their place."""
    from dialsum_cli.models.planning import stepped

    kind = checkpoint.spec.kind
    if stage == "decoding":
        start = {name: getattr(settings, name) for name in DECODING}
        default = spaces.default_decoding(kind, start, stepped=stepped(checkpoint.config, settings), trained=trained)
    else:
        from dialsum_cli.training.methods import choose
        from dialsum_cli.tuning.training import as_finetuning

        if checkpoint.adapter:
            raise RequestError(f"{checkpoint.spec.name} is an adapter already", "tune its base, or --stage decoding")
        finetuning = as_finetuning(settings, {}, settings.output_dir)
        recipe = choose(checkpoint.spec, checkpoint.config, finetuning).recipe
        start, default = asdict(recipe), spaces.default_training(recipe)
    space = {name: entry for name, entry in settings.space.items() if name in start} or default
    spaces.check(space, start, kind)
    return start, space


@dataclass(frozen=True, slots=True)
class _Job:
    """What the stages of a search share."""

    settings: TuneSettings
    checkpoint: "Checkpoint"
    seen: Sequence[Dialogue]
    unseen: Sequence[Dialogue]
    train: Sequence[Dialogue]
    facts: Mapping[str, DataFacts]
    run: Run
    tracking: Tracking
    tracker: Tracker
    reporter: Reporter

    def tune(self, stage: StageName, start: Options, space: Space, steps: int) -> tuple[TunedStage, Options]:
        """Run a stage after so many steps of the others; returns what it found, and the options to go on with."""
        study = Study(self.run.folder / "study.db", stage, space, start, self.settings.seed)

        def track(trial: Trial, value: float) -> None:
            self.tracker.log({"final_score": value, **trial.options}, step=steps + trial.number)

        with self._bench(stage) as bench:
            trials = search(study, self.settings.trials, bench, track, self.reporter)
            first, best = trials[0], leader(trials)
            scorer = self.scorer(self.unseen)
            texts = bench.write(first, self.unseen, "held out: the starting point")
            before = after = scorer.score(texts)
            if best is not first:
                texts = bench.write(best, self.unseen, f"held out: trial {best.number}")
                after = scorer.score(texts)
            rows = ((one.fname, one.text, text) for one, text in zip(self.unseen, texts, strict=True))
            self.tracker.log_texts(f"summaries-{stage}", ("fname", "dialogue", "summary"), rows)
            verdict = judged(before, after, self.settings.seed)
            chosen = best if verdict["verdict"] == "improvement" else first
            tuned = TunedStage(
                stage=stage, space=_plain(space), trials=[_row(stage, each) for each in trials], leader=best.number,
                best=self.run.folder / stage / "best.yaml", model=bench.run_dir(chosen),
                importances=study.importances(), searched=len(self.seen), held_out=len(self.unseen), **verdict,
            )  # fmt: skip
        comment = f"trial {best.number} of `dialsum tune`: better than the starting point by {tuned.gain:.2f}"
        if chosen is first:
            comment = "the starting point of `dialsum tune`: nothing was better by more than chance"
        self.run.write(f"{stage}/best.yaml", best_yaml(self.settings, stage, chosen.options, comment))
        return tuned, chosen.options

    @contextmanager
    def _bench(self, stage: StageName) -> Iterator[Bench]:
        """Where a stage's trials are run, the model loaded where all of them have the same."""
        from dialsum_cli.tuning.decoding import Decodings, open_writer

        scorer, spec = self.scorer(self.seen), self.checkpoint.spec
        given = {name: getattr(self.settings, name) for name in DECODING}
        decoding, _ = spaces.draw({}, given, lambda name, entry: None)  # what means nothing without beams is left out
        if stage == "decoding":
            kept = self.settings.output_dir / "summaries"
            with open_writer(spec, self.settings, decoding, kept, self.reporter) as writer:
                yield Decodings(writer, self.seen, scorer)
        else:
            from dialsum_cli.training.job import Job
            from dialsum_cli.tuning.training import Trainings, as_finetuning

            folder = self.run.folder / stage
            job = Job(
                as_finetuning(self.settings, {}, folder), self.train, self.seen, self.facts, scorer, self.tracking,
                self.reporter, folder / "summaries",
            )  # fmt: skip
            yield Trainings(job, spec, self.settings, decoding, folder)

    def scorer(self, dialogues: Sequence[Dialogue]) -> Scorer:
        """The ruler for these dialogues."""
        return Scorer([dialogue.references for dialogue in dialogues], seed=self.settings.seed)


def _row(stage: StageName, trial: Trial) -> TuneTrial:
    status: Any = {"complete": "ok"}.get(trial.state, trial.state)
    return TuneTrial(
        stage=stage, number=trial.number, status=status, error=trial.reason, final_score=trial.value,
        options=dict(trial.options),
    )  # fmt: skip


def _plain(space: Space) -> dict[str, Any]:
    return {name: entry.model_dump() if isinstance(entry, Range) else entry for name, entry in space.items()}


def _write(result: TuneResult, run: Run) -> None:
    from dialsum_cli.reports.page import render
    from dialsum_cli.reports.tuning import tuning_page

    run.write("report.html", render(tuning_page(result)))
    run.write("result.json", result.to_json())  # from here on the search is finished
