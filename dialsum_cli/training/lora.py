"""What LoRA adds to a layer, as PEFT defines it, in fewer passes over memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch


def quicken(model: torch.nn.Module) -> None:
    """Let a model's LoRA layers compute by `Added` while they train; all else stays with PEFT.

    What LoRA adds is little arithmetic on large tensors, so that it costs as many passes over memory as it makes. PEFT
    scales and adds in passes of their own, and takes each input of a layer in half precision to the adapter's fp32
    (`tuners/lora/layer.py`, `Linear.forward`), from which autocast takes it back.
    """
    from peft.tuners.lora import LoraLayer  # its import of bitsandbytes says things that loading hushes

    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.forward = partial(_forward, layer, layer.forward)


def _forward(
    layer: Any, theirs: Callable[..., torch.Tensor], x: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    (adapter,) = layer.active_adapters
    down, up, dropout = (each[adapter] for each in (layer.lora_A, layer.lora_B, layer.lora_dropout))
    one_format = x.dtype == down.weight.dtype or torch.is_autocast_enabled(x.device.type)
    if not (layer.training and one_format):  # 4-bit weights on a CPU: PEFT goes to the adapter's fp32 and back
        return theirs(x, *args, **kwargs)
    output = layer.base_layer(x, *args, **kwargs)
    if output._is_view():  # as with a bias: autograd lets nobody add to a view of bitsandbytes' in place
        output = output.clone()
    added: Any = Added.apply
    result: torch.Tensor = added(output, x, down.weight, up.weight, layer.scaling[adapter], getattr(dropout, "p", 0.0))
    return result


class Added(torch.autograd.Function):
    """`output + scaling * up(down(dropout(x)))`, added in place; Hu et al., LoRA, arXiv 2106.09685, section 4.1.

    It computes in the output's number format, autocast's if there is one, and rounds once where PEFT rounds thrice.
    """

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scaling: float, p: float
    ) -> torch.Tensor:
        """Output and `x` are `[..., features]`, `down` is `[rank, in]`, `up` is `[out, rank]`."""
        down, up = down.to(output.dtype), up.to(output.dtype)
        rows, mask = x.flatten(0, -2).to(output.dtype), None
        with torch.autocast(x.device.type, enabled=False):  # the output may be fp32 under it, behind a LayerNorm
            if p:
                rows, mask = torch.native_dropout(rows, p, True)
            inner = rows @ down.T
            output.view(-1, output.shape[-1]).addmm_(inner, up.T, alpha=scaling)
        ctx.mark_dirty(output)
        ctx.save_for_backward(rows, mask, inner, down, up)
        ctx.scaling, ctx.p, ctx.x = scaling, p, (x.shape, x.dtype)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The output's own gradient passes through untouched."""
        rows, mask, inner, down, up = ctx.saved_tensors
        (gradient,) = gradients
        flat = gradient.flatten(0, -2)
        to_inner = (flat @ up) * ctx.scaling
        to_x = None
        if ctx.needs_input_grad[1]:
            to_x = to_inner @ down
            if mask is not None:
                to_x = torch.ops.aten.native_dropout_backward(to_x, mask, 1 / (1 - ctx.p))
            shape, dtype = ctx.x
            to_x = to_x.view(shape).to(dtype)
        return gradient, to_x, to_inner.T @ rows, (flat.T @ inner) * ctx.scaling, None, None
