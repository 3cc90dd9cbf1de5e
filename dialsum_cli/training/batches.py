"""Dialogues and their summaries as batches to train on: which rows a step sees, and how they are computed."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Sampler

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import DataError
from dialsum_cli.prompts.chat import ChatPrompt, EncoderPrompt

IGNORED = -100  # the label of what is not trained, as everywhere in transformers
_AT_ONCE = 256  # tokens whose logits are in fp32 at once
_SORTED = 64  # steps whose rows are sorted together: enough for little padding, few enough for other company each epoch


@dataclass(frozen=True, slots=True)
class Example:
    """One dialogue with one of its references.

    Attributes:
        prompt_ids: what the model is given: an encoder's input, or a chat prompt up to the answer.
        answer_ids: what it is to write, end token included.
    """

    fname: str
    prompt_ids: list[int]
    answer_ids: list[int]

    @property
    def width(self) -> int:
        """Tokens that the model computes."""
        return len(self.prompt_ids) + len(self.answer_ids)

    def inputs(self, *, seq2seq: bool) -> tuple[list[int], list[int]]:
        """What the model is given, and its labels: an encoder-decoder's answer, or as long as what it is given."""
        if seq2seq:
            return self.prompt_ids, self.answer_ids
        return [*self.prompt_ids, *self.answer_ids], [*[IGNORED] * len(self.prompt_ids), *self.answer_ids]


@dataclass(frozen=True, slots=True)
class Examples:
    """All examples of a data set; every reference of a dialogue is one.

    Attributes:
        prompt_tokens: of each dialogue's prompt, had nothing been shortened.
        shortened: `fname` of the dialogues that did not fit and lost turns.
        long_answers: `fname` of those whose summary is longer than `max_new_tokens`, so that a prediction of its length
            would be cut.
    """

    items: list[Example]
    prompt_tokens: list[int]
    shortened: list[str]
    long_answers: list[str]

    @property
    def tokens(self) -> int:
        """Ids in all prompts and answers together."""
        return sum(example.width for example in self.items)


def make_examples(
    dialogues: Sequence[Dialogue],
    prompt: ChatPrompt | EncoderPrompt,
    max_prompt_tokens: int | None,
    max_new_tokens: int,
) -> Examples:
    """The prompts exactly as inference makes them, and the answers in full.

    Raises:
        DataError: a summary has no token to train on, or is so long that the model has no positions for it.
    """
    seq2seq = isinstance(prompt, EncoderPrompt)
    examples, nothing = Examples([], [], [], []), prompt.answer_ids("")
    for dialogue in dialogues:
        encoded = prompt.encode(dialogue.text, max_prompt_tokens)
        examples.prompt_tokens.append(encoded.whole)
        if encoded.shortened:
            examples.shortened.append(dialogue.fname)
        for reference in dialogue.references:
            answer = prompt.answer_ids(reference)
            if answer == nothing:
                raise DataError(f"{dialogue.fname}: its summary has no token to train on", "give it a summary")
            examples.items.append(Example(dialogue.fname, encoded.ids, answer))
            if len(answer) > max_new_tokens:
                examples.long_answers.append(dialogue.fname)
            # An encoder has all its positions for the dialogue, a decoder shares them with the answer.
            room = None if max_prompt_tokens is None else max_prompt_tokens + (0 if seq2seq else max_new_tokens)
            if room is not None and (len(answer) if seq2seq else examples.items[-1].width) > room:
                raise DataError(
                    f"{dialogue.fname}: its summary of {len(answer)} tokens does not fit into the model's {room}",
                    "shorten it" + ("" if seq2seq else f", or give --max-new-tokens {len(answer)}"),
                )
    return examples


class StepSampler(Sampler[list[int]]):
    """The rows of each optimizer step: rows of similar length together, in an order of their own in every epoch.

    Args:
        widths: tokens of each row.
        rows: rows of an optimizer step; one step of an epoch, anywhere in it, has what is left.
        seed: decides the order, together with the epoch.
    """

    def __init__(self, widths: Sequence[int], rows: int, seed: int) -> None:
        self.widths, self.rows, self.seed = widths, rows, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.widths) // self.rows)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.widths), generator=generator).tolist()
        steps: list[list[int]] = []
        for start in range(0, len(order), self.rows * _SORTED):
            nearby = sorted(order[start : start + self.rows * _SORTED], key=lambda row: (-self.widths[row], row))
            steps += [nearby[at : at + self.rows] for at in range(0, len(nearby), self.rows)]
        for step in torch.randperm(len(steps), generator=generator).tolist():
            yield steps[step]


def padded_tokens(examples: Sequence[Example]) -> int:
    """Tokens that a batch of these takes, padding included."""
    return len(examples) * max(example.width for example in examples)


def full_batches(examples: Sequence[Example], budget: int) -> list[list[Example]]:
    """Rows, the longest first, in batches of at most `budget` tokens, padding included, and one row at least."""
    batches: list[list[Example]] = []
    for example in sorted(examples, key=lambda example: -example.width):  # the first of a batch is its longest
        if not batches or (len(batches[-1]) + 1) * batches[-1][0].width > budget:
            batches.append([])
        batches[-1].append(example)
    return batches


def micro_batches(examples: Sequence[Example], budget: int) -> list[list[Example]]:
    """The rows of a step in as few batches as the budget allows, of sizes as even as that leaves them.

    A GPU is done with a small batch before the program has launched it.
    """
    fewest = len(full_batches(examples, budget))
    even = bisect_left(range(budget), -fewest, key=lambda tokens: -len(full_batches(examples, tokens)))
    return full_batches(examples, even)


def collate(examples: Sequence[Example], pad_id: int, *, seq2seq: bool) -> dict[str, torch.Tensor]:
    """Padded tensors `[rows, tokens]`: `input_ids`, `labels`, and for an encoder its `attention_mask`.

    A decoder needs no mask: padding stands on the right, where nothing that is trained looks, and without a mask the
    fastest attention kernel runs.
    """

    def padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])

    ids, labels = zip(*(example.inputs(seq2seq=seq2seq) for example in examples), strict=True)
    batch = {"input_ids": padded(ids, pad_id), "labels": padded(labels, IGNORED)}
    if seq2seq:
        batch["attention_mask"] = padded([[1] * len(row) for row in ids], 0)
    return batch


class _SharedLoss(torch.autograd.Function):
    """`cross_entropy(logits.float(), targets, reduction="sum") / among`, its gradient computed with it, part by part.

    All at once, a vocabulary's logits stand in memory in fp32 three times over: 1.4 GiB for every thousand tokens and
    128,256 logits, which is the peak of a training with checkpoints.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, targets: torch.Tensor, among: int, label_smoothing: float
    ) -> torch.Tensor:
        """Logits are `[tokens, vocabulary]`, in any number format; the loss is fp32."""
        narrow = logits.dtype == torch.float16  # whose smallest numbers a gradient reaches before it is scaled
        gradient = torch.empty_like(logits, dtype=torch.float32 if narrow else None)
        loss = logits.new_zeros((), dtype=torch.float32)
        hit, each = 1 - label_smoothing, label_smoothing / logits.shape[-1]  # of the target, and of every word
        for part, into, target in zip(*(whole.split(_AT_ONCE) for whole in (logits, gradient, targets)), strict=True):
            likely, place = torch.log_softmax(part, -1, dtype=torch.float32), target[:, None]
            loss -= hit * likely.gather(1, place).sum() / among
            if each:  # a logit may be -inf
                loss -= each * likely.sum() / among
            slope = likely.exp_().sub_(each).scatter_add_(1, place, likely.new_full(place.shape, -hit))
            into.copy_(slope.div_(among))
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The loss's own gradient, 1 or a scaler's power of two, times what `forward` computed."""
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None


class AnswerLoss:
    """The cross-entropy of the answers' tokens, with logits for these positions and no others.

    A summary is a tenth of what a causal model reads, and the projection to the vocabulary is its largest matrix: the
    positions are picked out before it, by a hook on the output layer, so that whatever an architecture does to its
    logits is done to these as well. The sum equals that of full logits exactly.

    The positions are found before the batch goes to the device: there, the program would have to wait for their number.

    Args:
        model: a causal or encoder-decoder model, or a PEFT model around one.
        label_smoothing: the share of the target that is spread over the vocabulary.
    """

    def __init__(self, model: Any, label_smoothing: float = 0.0) -> None:
        self.model, self.label_smoothing = model, label_smoothing
        self.seq2seq = bool(model.config.is_encoder_decoder)
        self._picked: torch.Tensor | None = None
        self._hook = model.get_output_embeddings().register_forward_pre_hook(self._pick)

    def _pick(self, module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._picked is None:
            return None
        return (arguments[0].flatten(0, 1).index_select(0, self._picked), *arguments[1:])

    def __call__(self, batch: dict[str, torch.Tensor], among: int = 1) -> torch.Tensor:
        """The sum over the labels that aren't -100 of a batch as `collate` made it: a scalar with its graph.

        Args:
            among: what the sum is divided by: so many tokens are trained in the whole step.
        """
        labels = batch["labels"]
        trained = labels != IGNORED
        inputs = {name: self._moved(tensor) for name, tensor in batch.items() if name != "labels"}
        picked = trained
        if self.seq2seq:
            inputs["decoder_input_ids"] = self._moved(self.model.prepare_decoder_input_ids_from_labels(labels=labels))
        else:  # the logits at a position are for the token after it
            picked = torch.cat([trained[:, 1:], torch.zeros_like(trained[:, :1])], dim=1)
        targets = self._moved(labels[trained])
        self._picked = self._moved(picked.flatten().nonzero().squeeze(1))
        try:
            logits = self.model(**inputs, use_cache=False).logits
        finally:
            self._picked = None
        loss: torch.Tensor = _SharedLoss.apply(logits, targets, among, self.label_smoothing)  # type: ignore[no-untyped-call]
        return loss

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the model's device; from pinned memory the program goes on while a GPU fetches it."""
        device = self.model.device
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

    def remove(self) -> None:
        """Give the model back as it was."""
        self._hook.remove()
