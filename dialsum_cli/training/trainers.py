"""Trainers: transformers' own, with our steps, our judge and checkpoints that are whole or not there."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import torch
from accelerate.state import AcceleratorState
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint, rotate_checkpoints

from dialsum_cli import processes
from dialsum_cli.errors import DialsumError
from dialsum_cli.models.loading import LoadedModel
from dialsum_cli.models.planning import device
from dialsum_cli.registry import Recipe
from dialsum_cli.reporter import Reporter, Stage
from dialsum_cli.runs import sync
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.training.batches import Example, StepSampler
from dialsum_cli.training.steps import Steps

Judge = Callable[[], Mapping[str, float]]
"""Generates on dev and scores: `final_score` and what else is worth a line of the history."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to; the weights are in the model that was given.

    Attributes:
        best_step: the optimizer step whose weights were kept.
        steps: optimizer steps that were made.
        seconds: of training steps, without evaluations and checkpoints; of all sessions of a run that was resumed.
        tokens: that were computed in these, padding aside.
        history: the trainer's log: losses, learning rates, and the judge's scores.
        micro_batch_tokens: what fitted into memory in the end.
    """

    best_step: int
    steps: int
    seconds: float
    tokens: int
    history: list[dict[str, float]]
    micro_batch_tokens: int


class _Alone:
    """Mixed into the arguments of transformers: each process of a launch trains as if it were the only one.

    Processes meet in places of ours alone: gradients are summed, evaluations shared, and the first one writes. All else
    is the same in all of them, and one that fails can't leave the others waiting somewhere in the trainer.
    """

    @cached_property
    def _setup_devices(self) -> torch.device:
        AcceleratorState._reset_state()  # of the model before, as transformers does
        self.distributed_state = None
        self._n_gpu = 1  # several GPUs are for several processes, not for DataParallel's threads
        return device()


class _Arguments(_Alone, TrainingArguments):
    pass


class _Seq2SeqArguments(_Alone, Seq2SeqTrainingArguments):
    pass


class _OurTrainer(Trainer):
    """A batch of the loader is the rows of a whole optimizer step."""

    steps: Steps
    sampler: StepSampler
    judge: Judge
    keep: int  # checkpoints; the trainer's own limit would delete the last one of a finished training
    tokens = 0
    _seconds = _since = 0.0
    _staging: Path | None = None

    @property
    def seconds(self) -> float:
        """Of training, what is not training aside."""
        return self._seconds + perf_counter() - self._since

    def go_on(self, seconds: float) -> None:
        """Start the clock where a run stood."""
        self._seconds, self._since = seconds, perf_counter()

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """What is no training; a GPU ends what it has been given first."""
        if self.args.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = self.seconds
        try:
            yield
        finally:
            self.go_on(seconds)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The rows of each step, as they are."""
        return DataLoader(self.train_dataset, batch_sampler=self.sampler, collate_fn=list)  # type: ignore[arg-type]

    def training_step(
        self, model: torch.nn.Module, inputs: Any, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Compute a step's gradients.

        Its random numbers, dropout's, come from the step and the process: a resumed run has them without a record.
        """
        model.train()
        self.tokens += sum(row.width for row in inputs)
        torch.manual_seed((self.args.seed * 1_000_003 + self.state.global_step) * 1_009 + processes.number())
        return self.steps.add_up(self.steps.compute(inputs, self.accelerator.backward))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Judge the weights as they are."""
        self.model.eval()  # type: ignore[union-attr]
        with self._aside():
            metrics = {f"eval_{name}": value for name, value in self.judge().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log with what a resumed run takes up again: seconds and tokens so far, and what fitted into memory."""
        so_far = {"seconds": self.seconds, "tokens": self.tokens, "micro_batch_tokens": self.steps.budget}
        super().log({**logs, **so_far, "processes": processes.count()}, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Nothing: nobody reads it."""
        return 0

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Write a checkpoint beside the others and rename it once all of it is on the disk; the first process does.

        Raises:
            DialsumError: it can't be written; the checkpoints before it are whole.
        """
        folder = Path(self.args.output_dir or "")
        if not processes.is_first():  # nor is it waited for: `_load_best_model` does
            if self.state.best_global_step:
                self.state.best_model_checkpoint = str(folder / f"checkpoint-{self.state.best_global_step}")
            return
        name = f"checkpoint-{self.state.global_step}"
        self._staging = folder / ".unfinished"
        shutil.rmtree(self._staging, ignore_errors=True)
        try:
            with self._aside():
                super()._save_checkpoint(model, trial)
            sync(self._staging / name)
            shutil.rmtree(folder / name, ignore_errors=True)  # of a run that was resumed before it
            (self._staging / name).rename(folder / name)
            sync(folder, whole=False)
        except (OSError, RuntimeError, SafetensorError) as error:
            if isinstance(error, RuntimeError) and not any(text in str(error) for text in _UNWRITTEN):
                raise
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise DialsumError(
                f"can't write the checkpoint of step {self.state.global_step} to '{folder}': {reason.splitlines()[0]}",
                "free some disk; the same command goes on from the checkpoint before",
            ) from error
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None
        self.state.best_model_checkpoint = _best(self.state, folder)
        rotate_checkpoints(str(folder), self.keep, self.state.best_model_checkpoint)

    def _load_best_model(self) -> None:
        with self._aside():
            processes.wait()  # until the first one has written it
            super()._load_best_model()


class _Seq2SeqTrainer(_OurTrainer, Seq2SeqTrainer):
    pass


TRAINERS: dict[str, tuple[type[_OurTrainer], type[TrainingArguments]]] = {
    "seq2seq": (_Seq2SeqTrainer, _Seq2SeqArguments),
    "causal": (_OurTrainer, _Arguments),
}


_UNWRITTEN = ("PytorchStreamWriter", "unexpected pos")  # how torch says that a file could not be written


def _best(state: TrainerState, folder: Path) -> str | None:
    """The best checkpoint's folder, wherever the run folder is by now."""
    path = folder / f"checkpoint-{state.best_global_step}"
    return str(path) if state.best_global_step and path.is_dir() else None


def _changed(last: Mapping[str, float], steps: Steps) -> str:
    """Take up what fitted into memory; other processes have measured that afresh, and it is said what they change."""
    number, before = processes.count(), int(last.get("processes", 1))
    if number == before:
        steps.budget = int(last["micro_batch_tokens"])
        return ""
    return (
        f" in {number} process{'es' if number > 1 else ''} instead of {before}: the same rows in the same steps, "
        "rounded in another way, and dropout's random numbers are others"
    )


def _since_best(state: TrainerState) -> int:
    """Evaluations since the best one.

    Counted in the history, so that a resumed run stops where it would have stopped undisturbed.
    """
    scores = [entry["eval_final_score"] for entry in state.log_history if "eval_final_score" in entry]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


class _Watch(TrainerCallback):
    """Sets the sampler's epoch, moves the progress bar, saves by the clock, stops, and tells of what is logged."""

    def __init__(
        self, sampler: StepSampler, stage: Stage, folder: Path, minutes: float, patience: int,
        begin: Callable[[], None], logged: Callable[[TrainerState], None],
    ) -> None:  # fmt: skip
        self.sampler, self.stage, self.folder, self.begin, self.logged = sampler, stage, folder, begin, logged
        self.minutes, self.patience = minutes, patience
        self.saved = monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take up the progress of a resumed run, and start the clock: what it was loaded from is behind it."""
        self.begin()
        state.best_model_checkpoint = _best(state, self.folder)
        self.stage.advance(state.global_step)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Give each epoch its own order."""
        self.sampler.epoch = state.global_step // len(self.sampler)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar; a run that dies loses so many minutes at most."""
        self.stage.advance()
        last = state.global_step >= state.max_steps
        # At the end of an epoch it would be the state before an evaluation that a resumed run then never makes.
        if monotonic() - self.saved > 60 * self.minutes and not last and state.global_step % len(self.sampler):
            control.should_save = control.should_log = True  # a resumed run takes up its seconds from the log
        if args.eval_strategy == "steps" and last:  # what the interval would leave out
            control.should_save = control.should_evaluate = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop when the best weights are long past."""
        if _since_best(state) >= self.patience:
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock again."""
        self.saved = monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Pass the history on."""
        self.logged(state)


def train(
    loaded: LoadedModel,
    examples: Sequence[Example],
    recipe: Recipe,
    settings: FinetuneSettings,
    steps: Steps,
    folder: Path,
    judge: Judge,
    logged: Callable[[list[dict[str, float]]], None],
    reporter: Reporter,
) -> Trained:
    """Train a prepared model; what is in `folder` is taken up where it ended, and the best weights are kept.

    Args:
        folder: where the checkpoints are.
        judge: what decides which weights are the best, and when to stop.
        logged: is given the history whenever it grows.

    Raises:
        DialsumError: out of memory on a single row, or no room for a checkpoint.
    """
    trainer_class, arguments_class = TRAINERS[str(loaded.spec.kind)]
    sampler = StepSampler([example.width for example in examples], recipe.batch_size, settings.seed)
    interval: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    if settings.eval_steps:
        interval = {"eval_strategy": "steps", "save_strategy": "steps",
                    "eval_steps": settings.eval_steps, "save_steps": settings.eval_steps}  # fmt: skip
    on_gpu = loaded.model.device.type == "cuda"
    arguments = arguments_class(
        output_dir=str(folder),
        num_train_epochs=recipe.num_epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.scheduler,
        warmup_steps=recipe.warmup_ratio,  # a share of all steps when below 1
        optim="adamw_torch_fused" if on_gpu and recipe.optimizer == "adamw_torch" else recipe.optimizer,
        max_grad_norm=recipe.max_grad_norm,
        weight_decay=recipe.weight_decay,
        fp16=steps.half is torch.float16,  # which has a scale to keep
        logging_steps=10,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        load_best_model_at_end=True,
        metric_for_best_model="final_score",
        greater_is_better=True,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        **interval,
    )
    loaded.model._is_accelerate_prepared = True  # type: ignore[assignment]  # or it would be wrapped for a launch
    trainer: Any = trainer_class(
        model=loaded.model,
        args=arguments,
        train_dataset=examples,
        eval_dataset=[],  # the judge has its own
        processing_class=loaded.tokenizer,
    )
    trainer.steps, trainer.sampler, trainer.judge, trainer.keep = steps, sampler, judge, settings.keep_checkpoints
    trainer.remove_callback(PrinterCallback)  # it prints its log between our data on standard output
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, seconds, state = processes.told(get_last_checkpoint(str(folder))), 0.0, TrainerState()
    if checkpoint:
        state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        last = state.log_history[-1]
        seconds, trainer.tokens = last["seconds"], last["tokens"]
        reporter.note(f"{loaded.spec.name}: going on from step {state.global_step}{_changed(last, steps)}")
    steps.share_weights()
    total = int(-(-len(sampler) * recipe.num_epochs // 1))
    with reporter.stage(f"{loaded.spec.name}: training", total, "steps") as stage:
        trainer.go_on(seconds)
        if state.global_step >= total or _since_best(state) >= recipe.patience:  # it died after its last step
            state.best_model_checkpoint = _best(state, folder)
            trainer.state = state
            trainer._load_best_model()
        else:
            watch = _Watch(
                sampler, stage, folder, settings.checkpoint_minutes, recipe.patience,
                lambda: trainer.go_on(seconds), lambda state: logged(state.log_history),
            )  # fmt: skip
            trainer.add_callback(watch)
            trainer.train(resume_from_checkpoint=checkpoint)
            state = trainer.state
        trained_for = trainer.seconds
    if state.global_step < total:
        reporter.note(
            f"{loaded.spec.name}: stopped at step {state.global_step} of {total}: "
            f"{recipe.patience} evaluation{'s' * (recipe.patience != 1)} without a better score (--patience)"
        )
    loaded.model.eval()  # the trainer leaves it with dropout on
    return Trained(
        best_step=int(state.best_global_step or state.global_step),
        steps=state.global_step,
        seconds=trained_for,
        tokens=trainer.tokens,
        history=state.log_history,
        micro_batch_tokens=steps.budget,
    )
