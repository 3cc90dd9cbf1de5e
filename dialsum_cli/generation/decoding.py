"""Greedy decoding and sampling: one prefill, then steps over a static cache, on a GPU replayed from a CUDA graph."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from dialsum_cli.generation.batching import cut
from dialsum_cli.generation.cache import Layer, Shelf, Slots, has_flash, unpadded_attention
from dialsum_cli.generation.sampling import Sampling
from dialsum_cli.models.kernels import ready_attention
from dialsum_cli.models.planning import PREFILL_TOKENS
from dialsum_cli.models.vocabulary import Vocabulary

CHECK_EVERY = 16  # steps; asking the device whether rows have ended makes it wait
MOST_CHOICES = 512  # answers whose next tokens are chosen at once: 0.5 GB for 128,000 tokens in fp32
MASK_BY_LAYER = ("exaone4", "qwen2", "qwen3")  # architectures whose layers may differ in what they see


@contextmanager
def _projected(model: PreTrainedModel, positions: Tensor) -> Iterator[None]:
    """Let the model compute logits at one position of each row: a prefill's others would fill the memory in vain."""
    rows = torch.arange(len(positions), device=positions.device)
    head: Any = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][rows, positions].unsqueeze(1),))
    try:
        yield
    finally:
        hook.remove()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of all captures on a device: each stream costs a workspace of its own, which is never given back."""
    return torch.cuda.Stream(device)


@dataclass(slots=True)
class _Rows:
    """What there is for each prompt of a batch, changed in place by the steps; (rows, samples) where nothing else is.

    Attributes:
        token: the last one chosen.
        answers: (rows, samples, new tokens), filled up with an end token.
        state: of the vocabulary's automaton.
        extra: (rows, size + states), what the dialogues open in the vocabulary.
        draws: (rows, samples, new tokens).
    """

    token: Tensor
    ended: Tensor
    answers: Tensor
    state: Tensor
    extra: Tensor | None
    draws: Tensor | None

    def kept(self, rows: Tensor) -> "_Rows":
        """Those of some rows."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{name: value[rows] for name, value in values.items() if value is not None})


class Decoder:
    """Decodes prompts with a model that `dialsum_cli.models.planning.stepped` names.

    The samples of a prompt are the positions of one row: they share its prefill, its slots in the cache and the
    reading of them (eight samples of 499 prompts on an H200, a 3B model: 11.5 s of decoding when each had its copy).

    Args:
        end_ids: what ends an answer; there may be none.
        max_new_tokens: the longest answer.
        vocabulary: what may be written, on the model's device; None: anything.
    """

    def __init__(
        self, model: PreTrainedModel, end_ids: Sequence[int], max_new_tokens: int, vocabulary: Vocabulary | None = None
    ) -> None:
        self.model, self.max_new_tokens, self.vocabulary = model, max_new_tokens, vocabulary
        self.ends = torch.tensor(sorted(end_ids), dtype=torch.long, device=model.device)
        self.filler = torch.tensor(min(end_ids, default=0), device=model.device)  # of answers that have ended
        self.captures = model.device.type == "cuda"
        self.stream = _stream(model.device) if self.captures else None

    @torch.inference_mode()
    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        extra: Tensor | None = None,
        sampling: Sampling | None = None,
        keys: Sequence[str] = (),
    ) -> list[list[list[int]]]:
        """The answers to each prompt, up to and including the token that ended them.

        Args:
            prompts: ids; their padding costs least when those of like length stand together.
            extra: (prompts, size + states), the vocabulary's extra masks.
            sampling: None: one greedy answer.
            keys: what each prompt's draws are known by.
        """
        # A capture needs a stream of its own, and what has warmed up on the same one.
        stream = torch.cuda.stream(self.stream) if self.stream else nullcontext()
        if self.stream:
            torch.cuda.empty_cache()  # what the batch before has left is in pieces
            self.stream.wait_stream(torch.cuda.current_stream())
        with stream, unpadded_attention(self.model):
            answers = _Batch(self, prompts, extra, sampling, keys).answers()
        ends = set(self.ends.tolist())
        return [[_through_first(ends, answer) for answer in samples] for samples in answers]


class _Batch:
    """One batch on its way through the model."""

    def __init__(
        self, decoder: Decoder, prompts: Sequence[Sequence[int]], extra: Tensor | None, sampling: Sampling | None,
        keys: Sequence[str],
    ) -> None:  # fmt: skip
        self.decoder, self.model, self.sampling, self.prompts = decoder, decoder.model, sampling, prompts
        self.samples = sampling.num_samples if sampling else 1
        new = decoder.max_new_tokens
        device = self.model.device
        shape = (len(prompts), self.samples)
        self.rows = _Rows(
            token=torch.zeros(shape, dtype=torch.long, device=device),
            ended=torch.zeros(shape, dtype=torch.bool, device=device),
            answers=decoder.filler.expand(*shape, new).clone(),
            state=torch.zeros(shape, dtype=torch.long, device=device),
            extra=extra,
            draws=sampling.draws(keys, new).to(device) if sampling else None,
        )
        self.chosen = torch.zeros(1, dtype=torch.long, device=device)  # tokens of each answer so far
        lengths, longest = [*map(len, prompts)], max(map(len, prompts)) + new - 1
        self.slots = Slots(lengths, self.samples, new - 1, device, flash=has_flash(self.model, longest))
        shelf = Shelf(self.model.config.num_hidden_layers)
        self.layers = [Layer(self.slots, shelf) for _ in range(shelf.layers)]
        self.cache = Cache(layers=[*self.layers])
        self.never = torch.tensor(-torch.inf, device=device)  # there already: a captured step can copy no scalar

    def answers(self) -> list[list[list[int]]]:
        """All answers of each prompt, filled up with an end token."""
        finished, places = self.rows.answers.clone(), torch.arange(len(self.prompts), device=self.never.device)
        new = self.decoder.max_new_tokens
        self._choose(self._prefill())
        step: Callable[[], object] | None = None
        for number in range(1, new):
            if number % CHECK_EVERY == 0:
                going = (~self.rows.ended).any(1)
                count = int(going.sum())
                if count == 0:
                    break
                if 2 * count <= len(going):  # pays for another capture, some 0.1 s: a step's time is that of its rows
                    finished[places] = self.rows.answers
                    places = places[going]
                    self._keep(going)
                    step = None
            if step is not None:
                step()
                continue
            self._step()
            step = self._captured() if self.decoder.captures and number + 2 < new else self._step
        finished[places] = self.rows.answers
        every: list[list[list[int]]] = finished.tolist()
        return every

    def _prefill(self) -> Tensor:
        """Logits (rows, 1, vocabulary) after the prompts.

        Padding stands on the right, where causal attention doesn't look: no mask, and the fastest kernel. Taken in
        parts of `PREFILL_TOKENS`, each padded to its own longest row: 1.03 times the tokens instead of 1.2, in memory
        that does not grow with the batch, which decoding wants as large as it can be.
        """
        lengths = [len(prompt) for prompt in self.prompts]
        padded = np.zeros((len(lengths), max(lengths)), np.int64)
        for row, prompt in enumerate(self.prompts):
            padded[row, : len(prompt)] = prompt
        ids = torch.from_numpy(padded).to(self.model.device)  # once: each transfer would wait for the part before it
        positions = torch.arange(max(lengths), device=ids.device)
        window = getattr(self.model.config, "sliding_window", None)
        logits = []
        for part in cut(lengths, PREFILL_TOKENS):
            position = positions[: max(lengths[part])]
            self.slots.fill(part, len(position))
            near = None
            if window is not None and len(position) > window:
                distance = position[:, None] - position
                near = ((distance >= 0) & (distance < window))[None, None]
            with _projected(self.model, self.slots.prompts[part, 0] - 1), ready_attention():
                logits.append(self._logits(ids[part, : len(position)], position[None], None, near))
        return torch.cat(logits)

    def _step(self) -> None:
        """Write the last tokens to the cache and choose the next ones; it can be captured."""
        number = self.chosen - 1  # of the token that goes in
        self.slots.step(number)
        position = (self.slots.prompts + number).expand(-1, self.samples)
        seen = near = None
        if not self.slots.flash:
            shared = self.model.config.num_attention_heads // self.layers[0].held[0].shape[1]
            seen = near = self.slots.seen(shared)
            if (window := getattr(self.model.config, "sliding_window", None)) is not None:
                near = self.slots.seen(shared, window)
        self._choose(self._logits(self.rows.token, position, seen, near))

    def _logits(self, ids: Tensor, position: Tensor, seen: Tensor | None, near: Tensor | None) -> Tensor:
        """What the model says; `near` is what layers with a sliding window see, `seen` the others."""
        config = self.model.config
        mask: Any = seen
        if config.model_type in MASK_BY_LAYER:
            mask = {"full_attention": seen, "sliding_attention": near}
        elif config.model_type == "mistral":
            mask = near
        model: Any = self.model
        output = model(
            input_ids=ids, position_ids=position, attention_mask=mask, past_key_values=self.cache, use_cache=True
        )
        logits: Tensor = output.logits
        return logits

    def _choose(self, logits: Tensor) -> None:
        """Take the next token of each answer from logits (rows, samples or 1, vocabulary)."""
        rows, decoder = self.rows, self.decoder
        several = max(1, MOST_CHOICES // self.samples)  # rows; what choosing takes would grow with the batch
        parts = [slice(start, start + several) for start in range(0, len(logits), several)]
        token = torch.cat([self._chosen(part, logits[part].expand(-1, self.samples, -1)) for part in parts])
        token = torch.where(rows.ended, decoder.filler, token)
        if decoder.vocabulary is not None:
            rows.state.copy_(decoder.vocabulary.advance(rows.state, token))
        rows.token.copy_(token)
        rows.answers.index_copy_(2, self.chosen, token[..., None])
        rows.ended.logical_or_((token[..., None] == decoder.ends).any(-1))
        self.chosen.add_(1)

    def _chosen(self, part: slice, logits: Tensor) -> Tensor:
        """The next tokens of some rows."""
        rows, vocabulary = self.rows, self.decoder.vocabulary
        if vocabulary is not None:
            assert rows.extra is not None
            logits = torch.where(vocabulary.mask(rows.state[part], rows.extra[part]), logits, self.never)
        if self.sampling is None:
            return logits.argmax(-1)
        assert rows.draws is not None
        return self.sampling.choose(logits, rows.draws[part].index_select(2, self.chosen).squeeze(2))

    def _captured(self) -> Callable[[], object]:
        """The step as a replay of what it launches: Python needs 70-100 ms for a step, a replay 3."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.decoder.stream):
            self._step()
        replay: Callable[[], object] = graph.replay
        return replay

    def _keep(self, rows: Tensor) -> None:
        """Drop the other rows, one layer at a time so that no second cache is needed."""
        self.rows = self.rows.kept(rows)
        self.slots, index = self.slots.kept(rows)
        for layer in self.layers:
            layer.keep(self.slots, index)


def _through_first(ends: set[int], answer: list[int]) -> list[int]:
    """An answer up to and including its first end."""
    return answer[: next((place + 1 for place, token in enumerate(answer) if token in ends), len(answer))]
