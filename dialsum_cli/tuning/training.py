"""Trials of training: each one a fine-tuning of its own, in the run folder of the search."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dialsum_cli import registry
from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.registry import ModelSpec
from dialsum_cli.results import FinetuneRun
from dialsum_cli.settings import FinetuneSettings, TuneSettings
from dialsum_cli.training.job import Job
from dialsum_cli.tuning.decoding import open_writer
from dialsum_cli.tuning.spaces import Options
from dialsum_cli.tuning.study import Trial


def as_finetuning(settings: TuneSettings, options: Options, folder: Path) -> FinetuneSettings:
    """What a trial is fine-tuned with."""
    shared = FinetuneSettings.model_fields.keys() & TuneSettings.model_fields.keys() - {"config"}
    values = {name: getattr(settings, name) for name in shared} | dict(options)
    values |= {"models": [settings.model], "output_dir": folder, "resume": True}
    return FinetuneSettings.model_construct(**values)  # checked already; variables and files are none of its affair


@dataclass(frozen=True, slots=True)
class Trainings:
    """Fine-tunings of a model, each in a folder of its own, one that was begun goes on; a `tuning.search.Bench`."""

    job: Job
    spec: ModelSpec
    settings: TuneSettings
    decoding: Options
    """How summaries are written, whatever is trained."""
    folder: Path

    def measure(self, trial: Trial) -> float:
        """The final score of a fine-tuning, or of what was fine-tuned before the search was interrupted."""
        self._make_room(trial.number)
        run = self._done(trial.number)
        if run is None:
            settings = as_finetuning(self.settings, trial.options, self._place(trial.number))
            run = replace(self.job, settings=settings).finetune_one(self.spec)
        assert run.after is not None
        return run.after.final_score

    def write(self, trial: Trial, dialogues: Sequence[Dialogue], title: str) -> list[str]:
        """The summaries of a trial's model."""
        self._make_room()
        run = self._done(trial.number)
        assert run is not None, "it has been measured"
        settings = self.settings.model_copy(update={"precision": run.precision})
        spec = registry.resolve(str(run.run_dir))
        with open_writer(spec, settings, self.decoding, self.folder / "summaries", self.job.reporter) as writer:
            return writer.write(self.decoding, dialogues, title)

    def run_dir(self, trial: Trial) -> Path | None:
        """Where a trial's model is."""
        run = self._done(trial.number)
        return run.run_dir if run else None

    def _done(self, number: int) -> FinetuneRun | None:
        for path in self._place(number).glob("*/*/result.json"):
            run = FinetuneRun.model_validate_json(path.read_text(encoding="utf-8"))
            return run.model_copy(update={"run_dir": path.parent})  # wherever the search's folder is by now
        return None

    def _make_room(self, begun: int | None = None) -> None:
        """Delete all checkpoints but those of the trial that is begun, and all models but the start's and the best."""
        kept = None if begun is None else self._place(begun)
        for path in self.folder.glob("[0-9]*/*/*/checkpoints"):
            if kept not in path.parents:
                shutil.rmtree(path)
        runs = {int(path.name): run for path in self.folder.glob("[0-9]*") if (run := self._done(int(path.name)))}
        scores = {number: run.after.final_score for number, run in runs.items() if run.after}
        best = max(scores, key=lambda number: (scores[number], -number), default=0)
        for number, run in runs.items():
            assert run.run_dir
            if number not in (0, best) and (run.run_dir / "model").exists():
                shutil.rmtree(run.run_dir / "model")

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:03d}"
