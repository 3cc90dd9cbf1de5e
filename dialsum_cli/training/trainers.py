"""Trainers: transformers' own, with our steps, our judge and checkpoints that are whole or not there."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import torch
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

from dialsum_cli.errors import DialsumError
from dialsum_cli.models.loading import LoadedModel, out_of_memory
from dialsum_cli.registry import Recipe
from dialsum_cli.reporter import Reporter, Stage
from dialsum_cli.runs import sync
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.training.batches import AnswerLoss, Example, StepSampler, collate, micro_batches, padded_tokens

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


class Steps:
    """How one optimizer step is computed: micro-batches of a token budget, their gradients summed.

    The loss is the mean over all answer tokens of the step, whatever its micro-batches.
    """

    def __init__(self, loaded: LoadedModel, recipe: Recipe, budget: int, warn: Callable[[str], None]) -> None:
        self.loss = AnswerLoss(loaded.model, recipe.label_smoothing)
        self.budget, self.warn = budget, warn
        self.pad_id: int = loaded.tokenizer.pad_token_id
        self.device = loaded.model.device
        self.half = None  # the format of matrix products on a GPU, which adapters and trained weights in fp32 need told
        if self.device.type == "cuda":
            self.half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        self.parameters = [each for each in loaded.model.parameters() if each.requires_grad]

    def compute(self, rows: Sequence[Example], backward: Callable[[torch.Tensor], None]) -> torch.Tensor:
        """`gradients`; out of memory halves the budget for all that is left, and computes the same step again.

        Raises:
            DialsumError: a single row does not fit into memory.
        """
        while True:
            try:
                return self.gradients(rows, backward)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            self.halve(rows)  # out of the handler: the exception keeps the step's tensors alive

    def gradients(self, rows: Sequence[Example], backward: Callable[[torch.Tensor], None]) -> torch.Tensor:
        """The loss of a step, its gradients added up in the parameters."""
        trained = sum(len(row.answer_ids) for row in rows)
        total = torch.zeros((), device=self.device)
        for batch in micro_batches(rows, self.budget):
            tensors = collate(batch, self.pad_id, seq2seq=self.loss.seq2seq)
            moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in tensors.items()}
            with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
                loss = self.loss(moved) / trained
            backward(loss)
            total += loss.detach()
        return total

    def halve(self, rows: Sequence[Example]) -> None:
        """Free what a step has left behind, and compute half as much at once from here on.

        Raises:
            DialsumError: one row is computed at once already.
        """
        self.clear()
        torch.cuda.empty_cache()
        # A row that is computed alone may be shorter than several others together.
        several = [padded_tokens(batch) for batch in micro_batches(rows, self.budget) if len(batch) > 1]
        if not several:
            raise DialsumError(
                f"out of memory on a single example of {max(row.width for row in rows)} tokens",
                "use --method qlora, --gradient-checkpointing on, or a smaller model",
            )
        self.budget = max(several) // 2
        self.warn(f"out of memory: {self.budget} tokens are computed at once from here on")

    def clear(self) -> None:
        """Throw the gradients away."""
        for parameter in self.parameters:
            parameter.grad = None


class _OurTrainer(Trainer):
    """Mixed into the trainers of transformers: a batch of the loader is the rows of a whole optimizer step."""

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
        """Compute a step's gradients."""
        model.train()
        self.tokens += sum(row.width for row in inputs)
        return self.steps.compute(inputs, self.accelerator.backward)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Judge the weights as they are; the random state stays what it is, so that training goes on as without."""
        self.model.eval()  # type: ignore[union-attr]
        with self._aside(), torch.random.fork_rng():
            metrics = {f"eval_{name}": value for name, value in self.judge().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log with what a resumed run takes up again: seconds and tokens so far, and what fitted into memory."""
        so_far = {"seconds": self.seconds, "tokens": self.tokens, "micro_batch_tokens": self.steps.budget}
        super().log({**logs, **so_far}, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Nothing: nobody reads it."""
        return 0

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Write a checkpoint beside the others and rename it once all of it is on the disk.

        Raises:
            DialsumError: it can't be written; the checkpoints before it are whole.
        """
        folder = Path(self.args.output_dir or "")
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


class _CausalTrainer(_OurTrainer):
    pass


class _Seq2SeqTrainer(_OurTrainer, Seq2SeqTrainer):
    pass


TRAINERS: dict[str, tuple[type[_OurTrainer], type[TrainingArguments]]] = {
    "seq2seq": (_Seq2SeqTrainer, Seq2SeqTrainingArguments),
    "causal": (_CausalTrainer, TrainingArguments),
}


_UNWRITTEN = ("PytorchStreamWriter", "unexpected pos")  # how torch says that a file could not be written


def _best(state: TrainerState, folder: Path) -> str | None:
    """The best checkpoint's folder, wherever the run folder is by now."""
    path = folder / f"checkpoint-{state.best_global_step}"
    return str(path) if state.best_global_step and path.is_dir() else None


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
        logged: Callable[[TrainerState], None],
    ) -> None:  # fmt: skip
        self.sampler, self.stage, self.folder, self.logged = sampler, stage, folder, logged
        self.minutes, self.patience = minutes, patience
        self.saved = monotonic()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take up the progress of a resumed run."""
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
    arguments = arguments_class(
        output_dir=str(folder),
        num_train_epochs=recipe.num_epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.scheduler,
        warmup_steps=recipe.warmup_ratio,  # a share of all steps when below 1
        optim=recipe.optimizer,
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
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are for several processes, not for DataParallel's threads
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
    checkpoint, seconds, state = get_last_checkpoint(str(folder)), 0.0, TrainerState()
    if checkpoint:
        state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))
        last = state.log_history[-1]
        seconds, trainer.tokens, steps.budget = last["seconds"], last["tokens"], last["micro_batch_tokens"]
        reporter.note(f"{loaded.spec.name}: going on from step {state.global_step}")
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
                lambda state: logged(state.log_history),
            )  # fmt: skip
            trainer.add_callback(watch)
            trainer.train(resume_from_checkpoint=checkpoint)
            state = trainer.state
        seconds = trainer.seconds
    loaded.model.eval()  # the trainer leaves it with dropout on
    return Trained(
        best_step=int(state.best_global_step or state.global_step),
        steps=state.global_step,
        seconds=seconds,
        tokens=trainer.tokens,
        history=state.log_history,
        micro_batch_tokens=steps.budget,
    )
