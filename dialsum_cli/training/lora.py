"""A linear layer with its LoRA adapter, as PEFT defines it, in fewer passes over memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

_PLAIN = (torch.nn.Linear, Conv1D)


def quicken(model: torch.nn.Module) -> None:
    """Let a model's LoRA layers compute by `Adapted` while they train; all else stays with PEFT.

    What LoRA adds is little arithmetic on large tensors, so that it costs as many passes over memory, and as many
    launches of kernels, as it makes. PEFT scales and adds in passes of their own, and takes each input of a layer in
    half precision to the adapter's fp32 (`tuners/lora/layer.py`, `Linear.forward`), from which autocast takes it back.
    """
    from peft.tuners.lora import LoraLayer  # its import of bitsandbytes says things that loading hushes

    for layer in model.modules():
        if isinstance(layer, LoraLayer) and (type(layer.base_layer) in _PLAIN or _in_four_bits(layer.base_layer)):
            layer.forward = partial(_forward, layer, layer.forward, *_parts(layer))


def _parts(layer: Any) -> tuple[Any, Any, float, float]:
    (adapter,) = layer.active_adapters
    dropout = getattr(layer.lora_dropout[adapter], "p", 0.0)
    return layer.lora_A[adapter], layer.lora_B[adapter], layer.scaling[adapter], dropout


def _in_four_bits(layer: Any) -> bool:
    return getattr(layer.weight, "quant_state", None) is not None


def _frozen(layer: Any) -> torch.Tensor:
    """The weight of a frozen layer, `[out, in]`, dequantised if it is in 4 bits."""
    weight: torch.Tensor = layer.weight
    if _in_four_bits(layer):
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.data, layer.weight.quant_state)
    return weight.T if type(layer) is Conv1D else weight


def _forward(
    layer: Any, theirs: Callable[..., torch.Tensor], down: Any, up: Any, scaling: float, p: float,
    x: torch.Tensor, *args: Any, **kwargs: Any,
) -> torch.Tensor:  # fmt: skip
    one_format = x.dtype == down.weight.dtype or torch.is_autocast_enabled(x.device.type)
    added = not (layer.merged or layer.disable_adapters)
    if not (layer.training and added and one_format):  # 4-bit weights on a CPU: PEFT goes to fp32 and back
        return theirs(x, *args, **kwargs)
    compute: Any = Adapted.apply
    output: torch.Tensor = compute(x, down.weight, up.weight, layer.base_layer, scaling, p)
    return output


class Adapted(torch.autograd.Function):
    """`base(x) + scaling * up(down(dropout(x)))`; Hu et al., LoRA, arXiv 2106.09685, section 4.1.

    It computes in autocast's number format if there is one, and rounds twice where PEFT rounds four times.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, base: Any, scaling: float, p: float
    ) -> torch.Tensor:
        """`x` is `[..., in]`, `down` is `[rank, in]`, `up` is `[out, rank]`; the output is `[..., out]`."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        down, up, rows, mask = down.to(dtype), up.to(dtype), x.flatten(0, -2).to(dtype), None
        bias = base.bias if base.bias is None else base.bias.to(dtype)
        output = torch.nn.functional.linear(rows, _frozen(base).to(dtype), bias)
        if p:
            rows, mask = torch.native_dropout(rows, p, True)
        inner = torch.addmm(down.new_empty(()), rows, down.T, beta=0, alpha=scaling)
        output.addmm_(inner, up.T)
        ctx.save_for_backward(rows, mask, inner, down, up)
        ctx.base, ctx.scaling, ctx.p, ctx.x = base, scaling, p, (x.shape, x.dtype)
        # Not a view: autograd would let no model add to it in place.
        return torch.ops.aten._unsafe_view(output, [*x.shape[:-1], len(up)])  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of `x`, `down` and `up`."""
        rows, mask, inner, down, up = ctx.saved_tensors
        gradient, to_x = gradients[0].flatten(0, -2), None
        to_inner = torch.addmm(inner, gradient, up, beta=0, alpha=ctx.scaling)
        if ctx.needs_input_grad[0]:
            to_x = to_inner @ down  # first: that the large product adds to it costs no pass of its own
            if mask is not None:
                to_x = torch.ops.aten.native_dropout_backward(to_x, mask, 1 / (1 - ctx.p))
            shape, dtype = ctx.x
            to_x = to_x.addmm_(gradient, _frozen(ctx.base).to(gradient.dtype)).view(shape).to(dtype)
        return to_x, _product(to_inner.T, rows), _product(gradient.T, inner), None, None, None


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """In fp32, as the adapter's weights are, where a GPU can hand it on so: no kernel has to convert it then."""
    if left.device.type == "cuda" and left.dtype != torch.float32 and torch.version.hip is None:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left @ right
