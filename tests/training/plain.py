"""The same training by transformers' Trainer as its users write it: full mask, full logits, rows padded together."""

from dataclasses import dataclass

import torch
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from dialsum_cli.training.batches import StepSampler


@dataclass(frozen=True)
class Padded:
    """Rows as one batch with an attention mask."""

    pad_id: int
    seq2seq: bool

    def __call__(self, rows):
        ids = [row.prompt_ids if self.seq2seq else row.prompt_ids + row.answer_ids for row in rows]
        labels = [row.answer_ids if self.seq2seq else [-100] * len(row.prompt_ids) + row.answer_ids for row in rows]
        longest, longest_label = max(map(len, ids)), max(map(len, labels))
        return {
            "input_ids": torch.tensor([each + [self.pad_id] * (longest - len(each)) for each in ids]),
            "attention_mask": torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in ids]),
            "labels": torch.tensor([each + [-100] * (longest_label - len(each)) for each in labels]),
        }


class Losses(TrainerCallback):
    def __init__(self):
        self.losses = []

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in logs:
            self.losses.append(logs["loss"])


class InOrder(Trainer):
    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)


def steps_of(examples, recipe, seed):
    """The rows of every step of all epochs, as `dialsum finetune` takes them."""
    sampler = StepSampler([example.width for example in examples], recipe.batch_size, seed)
    for epoch in range(int(recipe.num_epochs)):
        sampler.epoch = epoch
        yield from ([examples[row] for row in rows] for rows in sampler)


def train_plainly(loaded, examples, recipe, seed, folder, *, accumulation=1, bf16=False):
    """Train on the batches of `steps_of`; the loss of each step."""
    rows = [row for step in steps_of(examples, recipe, seed) for row in step]
    assert len(examples) % recipe.batch_size == 0  # or a batch would not be a step
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, per_device_train_batch_size=recipe.batch_size // accumulation,
        gradient_accumulation_steps=accumulation, learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.scheduler, warmup_steps=recipe.warmup_ratio, optim=recipe.optimizer,
        max_grad_norm=recipe.max_grad_norm, weight_decay=recipe.weight_decay, bf16=bf16, logging_steps=1,
        save_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False, seed=seed,
        dataloader_pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
    told = Losses()
    trainer = InOrder(
        model=loaded.model, args=arguments, train_dataset=rows, callbacks=[told],
        data_collator=Padded(loaded.tokenizer.pad_token_id, loaded.is_seq2seq),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return told.losses
