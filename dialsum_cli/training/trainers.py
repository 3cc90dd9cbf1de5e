"""Trainers: a loaded model and examples in, trained weights out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import (
    DataCollatorForSeq2Seq,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import RequestError
from dialsum_cli.generation.engines import HuggingFaceSummarizer
from dialsum_cli.models.loading import LoadedModel
from dialsum_cli.registry import ModelSpec, Recipe
from dialsum_cli.results import Reporter, Stage
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.training.batches import Seq2SeqExamples


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to; the weights are in the model that was given.

    Attributes:
        steps: optimizer steps.
        seconds: without loading and evaluation.
        history: the trainer's log, one entry per logging step.
    """

    steps: int
    seconds: float
    tokens_per_second: float
    trainable_parameters: int
    history: list[dict[str, float]]


def resolve_recipe(spec: ModelSpec, settings: FinetuneSettings) -> Recipe:
    """The model's recipe with what the settings override.

    Raises:
        RequestError: the catalogue has no recipe for the model, and the settings leave something open.
    """
    given = {name: getattr(settings, name) for name in ("learning_rate", "num_epochs", "batch_size")}
    given = {name: value for name, value in given.items() if value is not None}
    if spec.recipe is not None:
        return replace(spec.recipe, **given)
    if len(given) < 3:
        raise RequestError(
            f"the catalogue has no recipe for {spec.name}", "give --learning-rate, --num-epochs and --batch-size"
        )
    return Recipe(**given, warmup_ratio=0.1, scheduler="cosine", max_grad_norm=1.0)


class ShowProgress(TrainerCallback):
    """Moves a progress bar with the optimizer steps."""

    def __init__(self, reporter: Reporter, title: str) -> None:
        self.reporter, self.title = reporter, title
        self.context: Any = None
        self.stage: Stage | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        self.context = self.reporter.stage(self.title, state.max_steps, "steps")
        self.stage = self.context.__enter__()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar."""
        if self.stage:
            self.stage.advance()

    def close(self) -> None:
        """Close the bar, also after a failure."""
        if self.context:
            self.context.__exit__(None, None, None)


def train_seq2seq(
    loaded: LoadedModel,
    dialogues: Sequence[Dialogue],
    recipe: Recipe,
    settings: FinetuneSettings,
    folder: Path,
    reporter: Reporter,
) -> Trained:
    """Fine-tune all weights of an encoder-decoder model; checkpoints go to `folder`."""
    summarizer = HuggingFaceSummarizer(loaded, settings, reporter.warn)
    examples = Seq2SeqExamples(dialogues, summarizer.prompt, summarizer.max_prompt_tokens)
    if examples.shortened:
        reporter.note(f"{examples.shortened} of {len(dialogues)} training dialogues were shortened to fit the encoder")
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.num_epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.scheduler,
        warmup_steps=recipe.warmup_ratio,  # a share of all steps when below 1
        max_grad_norm=recipe.max_grad_norm,
        weight_decay=recipe.weight_decay,
        label_smoothing_factor=recipe.label_smoothing,
        train_sampling_strategy="group_by_length",
        bf16=loaded.precision == "bf16",
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        dataloader_pin_memory=loaded.model.device.type == "cuda",
        disable_tqdm=True,
        seed=settings.seed,
    )
    progress = ShowProgress(reporter, f"{loaded.spec.name}: training")
    trainer = Seq2SeqTrainer(
        model=loaded.model,
        args=arguments,
        train_dataset=examples,
        data_collator=DataCollatorForSeq2Seq(loaded.tokenizer, model=loaded.model),
        processing_class=loaded.tokenizer,
        callbacks=[progress],
    )
    trainer.remove_callback(PrinterCallback)  # it prints its log between our data on standard output
    try:
        outcome = trainer.train()
    finally:
        progress.close()
    seconds = outcome.metrics["train_runtime"]
    return Trained(
        steps=outcome.global_step,
        seconds=seconds,
        tokens_per_second=examples.tokens * recipe.num_epochs / seconds,
        trainable_parameters=sum(each.numel() for each in loaded.model.parameters() if each.requires_grad),
        history=[entry for entry in trainer.state.log_history if "loss" in entry],
    )


TRAINERS = {"seq2seq": train_seq2seq}
