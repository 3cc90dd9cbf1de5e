"""Logit averaging: several checkpoints write as one model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from dialsum_cli.models.loading import beneath


@contextmanager
def averaged(
    model: PreTrainedModel, others: Sequence[PreTrainedModel], prompts: Mapping[str, Tensor], copies: int
) -> Iterator[dict[str, Cache]]:
    """While it lasts, `model.generate` of these prompts sees the mean of all members' logits at each step.

    For members i = 1..n, in fp32: z = (z_1 + ... + z_n) / n. A logit is a log-probability but for a constant of its
    row, so that softmax(z) is the normalised geometric mean of the members' distributions, proportional to
    (p_1 ... p_n)^(1/n): a logarithmic opinion pool with equal weights (Heskes 1998, "Selecting weighting factors in
    logarithmic opinion pools", NIPS 10), and what OpenNMT-py averages by default. A token needs some probability from
    every member; fairseq's arithmetic mean of the probabilities would let one member carry it alone.

    Greedy decoding, beams, samples and logits processors go on as with one model: a hook puts the mean in the place of
    the logits after each forward pass of `model`, no weights are copied, and each member has its own cache.

    Args:
        others: the members beside `model`, of the same architecture and tokens.
        prompts: what `generate` gets, (rows, tokens): `input_ids` and `attention_mask`.
        copies: rows that `generate` makes of each prompt's: beams, or returned sequences.

    Yields:
        What `generate` needs beside its arguments: nothing where there are no others.
    """
    if not others:
        yield {}
        return
    first, *rest = (beneath(each) for each in (model, *others))
    own, *caches = (_cache(each.config) for each in (first, *rest))
    encoded = [_encoded(each, prompts, copies) for each in rest]

    def mean(_: nn.Module, __: tuple[Any, ...], inputs: dict[str, Any], output: Any) -> Any:
        logits = output.logits[:, -1:].float()
        for member, cache, states in zip(rest, caches, encoded, strict=True):
            logits = logits + member(**inputs | states | {"past_key_values": cache}).logits[:, -1:].float()
        output.logits = logits / (1 + len(rest))
        return output

    hook = first.register_forward_hook(mean, with_kwargs=True)
    try:
        # A cache with the layers of all members, of which `first` uses the first ones: beams reorder them all.
        yield {"past_key_values": _joined([own, *caches])}
    finally:
        hook.remove()


def _cache(config: PreTrainedConfig) -> Cache:
    """An empty cache as `generate` makes one."""
    decoder = config.get_text_config(decoder=True)
    cache = DynamicCache(config=decoder)
    return EncoderDecoderCache(cache, DynamicCache(config=decoder)) if config.is_encoder_decoder else cache


def _joined(caches: Sequence[Cache]) -> Cache:
    """One cache with the layers of all, which stay theirs as well."""
    pairs = [(each.self_attention_cache, each.cross_attention_cache) for each in caches
             if isinstance(each, EncoderDecoderCache)]  # fmt: skip
    if pairs:
        return EncoderDecoderCache(*(_joined(side) for side in zip(*pairs, strict=True)))
    return Cache(layers=[layer for each in caches for layer in each.layers])


def _encoded(member: PreTrainedModel, prompts: Mapping[str, Tensor], copies: int) -> dict[str, Any]:
    """What a member's own encoder makes of the prompts, for as many rows as `generate` has; nothing without encoder."""
    if not member.config.is_encoder_decoder:
        return {}
    encoder: Any = member.get_encoder()
    states = encoder(**prompts, return_dict=True).last_hidden_state
    return {"encoder_outputs": BaseModelOutput(last_hidden_state=states.repeat_interleave(copies, 0))}
