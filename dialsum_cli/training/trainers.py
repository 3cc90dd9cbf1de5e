"""Trainers: a loaded model and examples in, trained weights out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
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
from dialsum_cli.reporter import Reporter, Stage
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


def check_trainable(spec: ModelSpec, settings: FinetuneSettings) -> None:
    """Refuse what can't be fine-tuned, as far as it is known without loading it.

    Raises:
        RequestError: a baseline, a kind without a trainer, or a precision that can't be trained in.
    """
    if spec.kind == "baseline":
        raise RequestError(f"'{spec.name}' is a baseline: it has no weights to train", "name a model")
    if spec.kind is not None and spec.kind not in TRAINERS:
        raise RequestError(f"{spec.name}: only encoder-decoder models can be fine-tuned so far", "try tiny-bart")
    if settings.precision not in ("auto", "fp32"):
        raise RequestError(
            f"--precision {settings.precision}: all weights are trained, which needs them in fp32", "leave it out"
        )
    if spec.recipe is None:
        resolve_recipe(spec, settings)


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


class Advance(TrainerCallback):
    """Moves a progress bar with the optimizer steps."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar."""
        self.stage.advance()


def train_seq2seq(
    loaded: LoadedModel,
    dialogues: Sequence[Dialogue],
    recipe: Recipe,
    settings: FinetuneSettings,
    folder: Path,
    reporter: Reporter,
) -> Trained:
    """Fine-tune all weights of an encoder-decoder model, in fp32 with bf16 arithmetic where the GPU has it.

    Updates at a rate of 1e-5 are lost in weights of half precision. `folder` is the trainer's own.
    """
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
        bf16=loaded.model.device.type == "cuda" and torch.cuda.is_bf16_supported(),
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        dataloader_pin_memory=loaded.model.device.type == "cuda",
        disable_tqdm=True,
        seed=settings.seed,
    )
    trainer = Seq2SeqTrainer(
        model=loaded.model,
        args=arguments,
        train_dataset=examples,
        data_collator=DataCollatorForSeq2Seq(loaded.tokenizer, model=loaded.model),
        processing_class=loaded.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)  # it prints its log between our data on standard output
    steps = ceil(ceil(len(examples) / recipe.batch_size) * recipe.num_epochs)
    with reporter.stage(f"{loaded.spec.name}: training", steps, "steps") as stage:
        trainer.add_callback(Advance(stage))
        outcome = trainer.train()
    loaded.model.eval()  # the trainer leaves it with dropout on
    seconds = outcome.metrics["train_runtime"]
    return Trained(
        steps=outcome.global_step,
        seconds=seconds,
        tokens_per_second=examples.tokens * recipe.num_epochs / seconds,
        trainable_parameters=sum(each.numel() for each in loaded.model.parameters() if each.requires_grad),
        history=[entry for entry in trainer.state.log_history if "loss" in entry],
    )


TRAINERS = {"seq2seq": train_seq2seq}
