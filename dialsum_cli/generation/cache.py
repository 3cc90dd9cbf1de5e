"""Keys and values of a batch without a slot of padding, and attention to them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import StaticLayer

ATTENTION = "unpadded"


class Slots:
    """Where the keys and values of a batch stand, in every layer alike.

    A row has a slot for each token of its prompt, then `room` for each of its samples; the rows follow each other. One
    more slot at the end takes what is computed for padding.

    Attributes:
        target: slots of what is computed next, row by row.
        number: which new token a step computes, on the device; None in a prefill, which attends to itself alone.
    """

    def __init__(self, lengths: Sequence[int], samples: int, room: int, device: torch.device, *, flash: bool) -> None:
        self.lengths, self.samples, self.room, self.flash = np.array(lengths), samples, room, flash
        sizes = self.lengths + samples * room
        ends = np.cumsum(sizes)
        self.total, self.longest = int(ends[-1]), int(sizes.max())
        self.starts = torch.from_numpy(ends - sizes).to(device)[:, None]
        self.prompts = torch.from_numpy(self.lengths).to(device)[:, None]
        self.order = torch.arange(samples, device=device)
        self.own = self.starts + self.prompts + room * self.order  # (rows, samples)
        self.slots = torch.arange(self.longest, device=device)
        self.places = (self.starts + self.slots).clamp(max=self.total).flatten()  # of each row, padded
        self.target = self.own
        self.number: Tensor | None = None
        # What FlashAttention asks for: where the queries and the slots of each row begin, and those of each sample.
        self.asked = torch.arange(len(ends) + 1, dtype=torch.int32, device=device) * samples
        self.own_asked = torch.arange(self.own.numel() + 1, dtype=torch.int32, device=device)
        self.first, self.own_first = (
            _int32(functional.pad(each.flatten(), (0, 1))) for each in (self.starts, self.own)
        )

    def fill(self, rows: slice, width: int) -> None:
        """The next keys and values are those of some rows' prompts, padded to a width on their right."""
        place = self.slots[:width]
        self.target = torch.where(place < self.prompts[rows], self.starts[rows] + place, self.total)
        self.number = None

    def step(self, number: Tensor) -> None:
        """The next keys and values are those of each sample's new token of this number, counted from 0."""
        self.target, self.number = self.own + number, number
        if self.flash:  # what the kernel asks for; each is a (rows + 1) or (rows) of its own
            prompts = self.prompts + number + 1 if self.samples == 1 else self.prompts
            self.used, self.own_used = _int32(prompts), _int32((number + 1).expand(self.own.shape))

    def seen(self, shared: int, window: int | None = None) -> Tensor:
        """Which slots, counted from a row's first, the samples of a step see: (rows, 1, samples x shared, slots).

        `shared` is how many query heads share a key-value head: each is a query of its own.
        """
        assert self.number is not None
        new = self.slots - self.prompts  # (rows, slots): below 0 in the prompt
        age = new % self.room
        order = self.order.repeat_interleave(shared)[:, None]
        own = ((new >= 0) & (age <= self.number))[:, None] & ((new // self.room)[:, None] == order)
        seen = ((new < 0)[:, None] | own)[:, None]
        if window is None:
            return seen
        position = torch.where(new < 0, self.slots, self.prompts + age)
        return seen & (self.prompts + self.number - position < window)[:, None, None]

    def kept(self, rows: Tensor) -> tuple["Slots", Tensor]:
        """Those of some rows alone, and where in the old ones each was."""
        which = rows.cpu().numpy()
        starts, lengths = self.starts.flatten().cpu().numpy()[which], self.lengths[which]
        sizes = lengths + self.samples * self.room
        old = [np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        index = torch.from_numpy(np.concatenate([*old, [self.total]]))
        return Slots(lengths, self.samples, self.room, rows.device, flash=self.flash), index.to(rows.device)


class Shelf:
    """The tensors of all layers, which are alike: made together, when the first layer is told what they hold.

    Made one by one, each would break up a piece of memory that the layer before it has computed in, and leave a rest
    that nothing fits into: by the sizes of an 8B model's tensors, some 3 GiB of 22.
    """

    def __init__(self, layers: int) -> None:
        self.layers, self.made = layers, list[list[Tensor]]()

    def take(self, slots: int, states: Sequence[Tensor]) -> list[Tensor]:
        """One layer's (slots, heads, size), one for each of `states` (rows, heads, positions, size)."""
        if not self.made:  # zeros: what is masked is multiplied all the same, and must be finite
            shapes = [(slots, each.shape[1], each.shape[3]) for each in states]
            self.made = [
                [each.new_zeros(shape) for each, shape in zip(states, shapes, strict=True)] for _ in range(self.layers)
            ]
        return self.made.pop()


class Layer(StaticLayer):
    """Keys and values of one layer: (slots, key-value heads, size)."""

    def __init__(self, slots: Slots, shelf: Shelf) -> None:
        super().__init__(max_cache_len=slots.longest)
        self.where, self.shelf = slots, shelf
        self.held: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Keep new keys and values (rows, heads, positions, size); a step then attends to the layer itself."""
        states = key_states, value_states
        if not self.held:
            self.held = self.shelf.take(self.where.total + 1, states)
        for held, new in zip(self.held, states, strict=True):
            held.index_copy_(0, self.where.target.flatten(), new.transpose(1, 2).flatten(0, 1))
        return (key_states, value_states) if self.where.number is None else (self, self)

    def keep(self, slots: Slots, index: Tensor) -> None:
        """Drop what stands in other slots."""
        self.where = slots
        self.held = [each[index] for each in self.held]

    def attend(self, query: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
        """Attention of a step, (rows, heads, samples, size), as (rows, samples, heads, size); masked by `Slots.seen`.

        The query heads that share a key-value head stand beside each other as further queries to it, so that no kernel
        has to know of grouped queries, or to copy keys and values for each head, as transformers' own does where there
        is a mask: 1.36 ms a layer and step at 128 rows of 640 on an H200.
        """
        (rows, heads, samples, size), where = query.shape, self.where
        kept = self.held[0].shape[1]
        shared = heads // kept
        # (rows x samples x shared, key-value heads, size): the queries of a sample together
        queries = query.unflatten(1, (kept, shared)).permute(0, 3, 2, 1, 4).reshape(-1, kept, size)
        if mask is None:
            output = self._flash(queries, shared, scaling)
        else:
            shape = (rows, where.longest, kept, size)
            keys, values = (each.index_select(0, where.places).view(shape).transpose(1, 2) for each in self.held)
            asked = queries.view(rows, samples * shared, kept, size).transpose(1, 2)
            output = functional.scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=scaling)
            output = output.transpose(1, 2)
        return output.reshape(rows, samples, shared, kept, size).transpose(2, 3).reshape(rows, samples, heads, size)

    def _flash(self, queries: Tensor, shared: int, scaling: float | None) -> Tensor:
        """The same by FlashAttention's kernel for rows of their own lengths: it reads no slot that is not seen.

        Several samples attend to their prompt together and to what is their own each for itself; the two parts are
        weighed by what their scores sum up to (Ye et al. 2024, Cascade Inference, flashinfer.ai/2024/02/02).
        """
        where = self.where
        # `torch.nn.attention.varlen` is the public name, and has no `seqused_k` before 2.12.
        attend = torch.ops.aten._flash_attention_forward
        output: Tensor
        output, sums = attend(
            queries, *self.held, where.asked * shared, where.first, where.samples * shared, where.longest, 0.0, False,
            False, scale=scaling, seqused_k=where.used,
        )[:2]  # fmt: skip
        if where.samples == 1:
            return output
        own, own_sums = attend(
            queries, *self.held, where.own_asked * shared, where.own_first, shared, where.room, 0.0, False, False,
            scale=scaling, seqused_k=where.own_used,
        )[:2]  # fmt: skip
        weight = torch.sigmoid(sums - own_sums).T[..., None]
        return torch.lerp(own.float(), output.float(), weight).to(output.dtype)


def _attention(
    module: torch.nn.Module, query: Tensor, key: Any, value: Any, attention_mask: Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, **options: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention as transformers wants it; in a prefill it is causal where there is no mask."""
    if isinstance(key, Layer):
        return key.attend(query, attention_mask, scaling), None
    output = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling,
        is_causal=attention_mask is None and query.shape[2] > 1, enable_gqa=key.shape[1] != query.shape[1],
    )  # fmt: skip
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)


@contextmanager
def unpadded_attention(model: PreTrainedModel) -> Iterator[None]:
    """Our attention for a while: it has no mask function, so that the masks are those that we hand over."""
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def has_flash(model: PreTrainedModel, longest: int) -> bool:
    """Whether the device has FlashAttention for this model, with rows of so many slots.

    It wants an Ampere GPU or a later one, 16 bits, heads of at most 256, and every slot seen.
    """
    config, device = model.config, model.device
    window = getattr(config, "sliding_window", None)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (
        device.type == "cuda"
        and torch.version.hip is None
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and model.get_input_embeddings().weight.dtype in (torch.bfloat16, torch.float16)
        and size % 8 == 0
        and size <= 256
        and (window is None or longest <= window)
    )


def _int32(values: Tensor) -> Tensor:
    return values.flatten().to(torch.int32)
