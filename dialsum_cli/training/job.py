"""One model's fine-tuning in its own run folder: measured before and after, resumable, kept."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from dialsum_cli import processes
from dialsum_cli.caches.downloads import check_disk_limit
from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.data.writing import write_submission
from dialsum_cli.engines.huggingface import open_prompt, open_summarizer, peak_memory_gib, release_memory
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.metrics.scoring import Score, Scorer
from dialsum_cli.metrics.statistics import gain
from dialsum_cli.models.loading import LoadedModel, download, open_checkpoint
from dialsum_cli.models.preflight import download_bytes
from dialsum_cli.models.trained import as_trained
from dialsum_cli.prompts import load_prompt
from dialsum_cli.prompts.chat import ChatPrompt, EncoderPrompt
from dialsum_cli.registry import ModelSpec, Recipe
from dialsum_cli.reporter import Reporter
from dialsum_cli.reports.page import render
from dialsum_cli.reports.training import training_page
from dialsum_cli.results import DataFacts, FinetuneRun, LengthsResult, Scores, TokenLengths, TrainingPlan
from dialsum_cli.runs import Run, claim, file_name, provenance, start_run
from dialsum_cli.settings import DiskSettings, FinetuneSettings, RecipeSettings, TrackingSettings, parse_bytes
from dialsum_cli.store import Resumed, SummaryStore
from dialsum_cli.summarizer import Engine
from dialsum_cli.tracking import Tracker, Tracking, Training, run_config, training_label
from dialsum_cli.training import planning
from dialsum_cli.training.batches import Example, Examples, make_examples
from dialsum_cli.training.evaluation import Evaluator, judge, summarise
from dialsum_cli.training.methods import choose, keep_gradients, prepare
from dialsum_cli.training.saving import merge, save
from dialsum_cli.training.steps import Steps
from dialsum_cli.training.trainers import train

# Options that change nothing of what is trained: an unfinished run goes on with any of them.
ASIDE = {
    *("config", "models", "train", "dev", "output_dir", "resume", "merge", "batch_tokens"),
    *("keep_checkpoints", "checkpoint_minutes", *RecipeSettings.model_fields),
    *(*TrackingSettings.model_fields, *DiskSettings.model_fields),
}
HISTORY = ("step", "epoch", "loss", "learning_rate", "grad_norm", "final_score", "rouge1", "rouge2", "rougeL", "empty",
           "truncated", "seconds", "tokens")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """What all models of a fine-tuning share.

    Attributes:
        summaries: where those of untrained models are kept.
    """

    settings: FinetuneSettings
    train: Sequence[Dialogue]
    dev: Sequence[Dialogue]
    facts: Mapping[str, DataFacts]
    scorer: Scorer
    tracking: Tracking
    reporter: Reporter
    summaries: Path

    def finetune_one(self, spec: ModelSpec) -> FinetuneRun:
        """Train one model in its own run folder, from where an unfinished run of it stands."""
        if self.settings.disk_limit is not None and processes.is_first():
            limit = parse_bytes(self.settings.disk_limit)
            check_disk_limit(limit, download_bytes(spec), spec.name, self.settings.output_dir)
        release_memory()  # of a model that failed: what this one may take is decided next
        checkpoint = open_checkpoint(spec)
        if (first := processes.told(checkpoint.spec)) != checkpoint.spec:
            checkpoint = open_checkpoint(first)  # at the commit that the first process has found
        if checkpoint.adapter:
            raise RequestError(f"{spec.name} is an adapter already", "fine-tune its base model, or what --merge wrote")
        settings, _ = as_trained(self.settings, checkpoint.source.folder)  # `open_summarizer` tells of the difference
        choices = processes.told(choose(checkpoint.spec, checkpoint.config, settings))  # free memory decides, too
        if settings.merge and choices.recipe.method == "full":
            self.reporter.note(f"{spec.name}: nothing to merge, all weights are trained")
        settings = settings.model_copy(
            update={**asdict(choices.recipe), "precision": choices.precision, "models": [spec.name]}
        )
        configuration = {
            "model": checkpoint.spec.source,
            "weights": checkpoint.base.identity(),
            "train": self.facts["train"].sha256,
            "dev": self.facts["dev"].sha256,
            **{key: value for key, value in settings.model_dump(mode="json").items() if key not in ASIDE},
            **asdict(choices.recipe),
            "prompt": asdict(load_prompt(settings.prompt)),
        }
        root = settings.output_dir / file_name(spec.name)
        with _run_folder(root, configuration, settings, choices.sources) as run:
            for note in choices.notes:
                self.reporter.note(note)
            if choices.recipe.batch_size < processes.count():
                self.reporter.warn(
                    f"{spec.name}: a step of {choices.recipe.batch_size} rows leaves some of {processes.count()} "
                    "processes without work: raise --batch-size, or start fewer"
                )
            assert choices.recipe.method != "auto"
            training = Training(
                method=choices.recipe.method, precision=choices.computed_in, num_epochs=choices.recipe.num_epochs,
                batch_size=choices.recipe.batch_size, learning_rate=choices.recipe.learning_rate,
                started=datetime.now(),
            )  # fmt: skip
            label, config = training_label(checkpoint.spec, training), run_config(settings, checkpoint.spec, training)
            with self.tracking.run(run.folder, label, config) as tracker:
                result = self._train(checkpoint.spec, settings, choices.recipe, run, tracker)
                tracker.summarise(result.after.model_dump() if result.after else {})
            return result

    def _train(
        self, spec: ModelSpec, settings: FinetuneSettings, recipe: Recipe, run: Run, tracker: Tracker
    ) -> FinetuneRun:
        reporter, folder = self.reporter, run.folder
        if processes.is_first_here():  # once on each host; the others find it in its cache
            download(spec, settings)
        processes.wait()
        with open_summarizer(spec, settings, reporter) as (engine, loaded):
            keep_gradients(loaded.model)
            before, peak = self._before(engine, spec, settings), peak_memory_gib()  # a plan counts afresh
            loaded, note = prepare(loaded, recipe, self.train, settings.seed)
            if note:
                reporter.note(f"{spec.name}: {note}")
            prompt, most = open_prompt(spec, loaded.model.config, loaded.tokenizer, settings)
            examples = make_examples(self.train, prompt, most, settings.max_new_tokens)
            self._show_lengths(spec, examples, prompt, (most, settings.max_new_tokens))
            self._tell(spec, examples.shortened, "dialogues were shortened to fit")
            self._tell(spec, examples.long_answers, "summaries are longer than --max-new-tokens: such would be cut")
            run.write_json("provenance.json", self._provenance(spec, loaded.revision, recipe))
            steps = Steps(loaded, recipe, settings.micro_batch_tokens, reporter.warn)
            plan = self._plan(loaded, examples.items, recipe, settings, steps, run)
            evaluator = Evaluator(loaded, settings, self.dev, self.scorer, reporter)
            trained = train(
                loaded, examples.items, recipe, settings, steps, folder / "checkpoints", evaluator.judge,
                lambda history: _record(history, run, tracker), reporter,
            )  # fmt: skip
            steps.loss.remove()
            after, summaries = evaluator.evaluate()
            if processes.is_first():
                save(loaded, settings, recipe, after, folder / "model")
            peaks = [peak, peak_memory_gib()]
            peak = max((each for pair in processes.gathered(peaks) for each in pair if each), default=None)
            del engine, steps, evaluator, loaded  # before merging needs their memory
        if processes.is_first():
            rows = [(summary.fname, summary.text) for summary in summaries]
            write_submission(folder / "predictions.csv", rows, overwrite=True)
            texts = ((one.fname, one.text, summary) for one, (_, summary) in zip(self.dev, rows, strict=True))
            tracker.log_texts("summaries", ("fname", "dialogue", "summary"), texts)
            if settings.merge and recipe.method != "full":
                merge(spec, folder / "model", settings, recipe, after, self.dev, summaries, reporter)
        result = FinetuneRun(
            model=spec.name,
            run_dir=folder,
            trainer="seq2seq" if spec.kind == "seq2seq" else "causal",
            trainable_parameters=plan.trainable_parameters,
            train_seconds=trained.seconds,
            tokens_per_second=trained.tokens / trained.seconds,
            peak_memory_gib=peak,
            best_step=trained.best_step,
            evaluations=sum("eval_final_score" in entry for entry in trained.history),
            precision=settings.precision,
            plan=plan,
            before=Scores.of(before),
            after=Scores.of(after),
            **gain(after.items.final_score, before.items.final_score, seed=settings.seed),
        )
        page = training_page(result, _entries(trained.history), signature=self.scorer.signature)
        run.write("report.html", render(page))
        run.write("result.json", result.to_json())  # from here on the run is finished
        return result

    def _before(self, engine: Engine, spec: ModelSpec, settings: FinetuneSettings) -> Score:
        """The score of the untrained model; a resumed run finds its summaries kept."""
        store = SummaryStore(self.summaries, engine.ingredients()).written_by(processes.number())
        _, texts = summarise(Resumed(engine, store), self.dev, f"{spec.name}: before", self.reporter)
        return judge(self.scorer, texts)

    def _plan(
        self, loaded: LoadedModel, examples: Sequence[Example], recipe: Recipe, settings: FinetuneSettings,
        steps: Steps, run: Run,
    ) -> TrainingPlan:  # fmt: skip
        """What the training will take, shown.

        A resumed run keeps its plan, as other micro-batches would round differently; other processes make another one.
        """
        path = run.folder / "plan.json"
        kept = TrainingPlan.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None
        plan = processes.told(kept)
        if plan and plan.processes == processes.count():
            planning.apply(plan, loaded, steps)
        else:
            plan = planning.measure(loaded, examples, recipe, settings, steps, run.folder, len(self.dev))
            run.write("plan.json", plan.to_json())
        self.reporter.preview(plan)
        return plan

    def _provenance(self, spec: ModelSpec, revision: str | None, recipe: Recipe) -> dict[str, object]:
        return provenance(
            data={name: fact.model_dump() for name, fact in self.facts.items()},
            model=spec.source,
            revision=revision,
            recipe=asdict(recipe),
            metric=self.scorer.signature,
        )

    def _show_lengths(
        self, spec: ModelSpec, train: Examples, prompt: ChatPrompt | EncoderPrompt, limits: tuple[int | None, int]
    ) -> None:
        """How long prompts and summaries are, beside the limits of both."""
        prompts, summaries = limits
        dev = [prompt.encode(dialogue.text).whole for dialogue in self.dev]
        references = [len(prompt.answer_ids(each)) for dialogue in self.dev for each in dialogue.references]
        lengths = [
            TokenLengths.of("train prompts", train.prompt_tokens, prompts),
            TokenLengths.of("train summaries", [len(each.answer_ids) for each in train.items], summaries),
            TokenLengths.of("dev prompts", dev, prompts),
            TokenLengths.of("dev summaries", references, summaries),
        ]
        self.reporter.preview(LengthsResult(model=spec.name, lengths=lengths))

    def _tell(self, spec: ModelSpec, fnames: Sequence[str], what: str) -> None:
        if fnames:
            fnames = list(dict.fromkeys(fnames))
            some = ", ".join(fnames[:3]) + (" …" if len(fnames) > 3 else "")
            self.reporter.warn(f"{spec.name}: {len(fnames)} of {len(self.train)} {what}: {some}")


class _ReadOnlyRun(Run):
    """The run's folder for a process that isn't the first: it writes nothing."""

    def write(self, name: str, content: str) -> None:
        """Leave it to the first process."""


@contextmanager
def _run_folder(
    root: Path, configuration: Mapping[str, object], settings: FinetuneSettings, sources: Mapping[str, str]
) -> Iterator[Run]:
    """The folder of this run, as the first process has claimed it.

    Raises:
        RequestError, DialsumError: as `claim`, or another host does not see it.
    """
    if processes.is_first():
        with (
            claim(root, configuration, resume=settings.resume) as folder,
            start_run(folder, settings, sources=sources, claimed=True) as run,
        ):
            processes.told(folder)
            yield run
        return
    folder = processes.told(root)
    if not folder.is_dir():
        raise DialsumError(
            f"'{folder}' of the first process can't be seen here", "put --output-dir on a disk that all hosts share"
        )
    yield _ReadOnlyRun(folder)


def _record(history: Sequence[Mapping[str, float]], run: Run, tracker: Tracker) -> None:
    """Keep a training's log as it grows."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, HISTORY, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_entries(history))
    run.write("history.csv", buffer.getvalue())
    (last,) = _entries(history[-1:])
    tracker.log(last, step=int(last["step"]))


def _entries(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The trainer's log with the judge's values under their own names."""
    return [{name.removeprefix("eval_"): value for name, value in entry.items()} for entry in history]
