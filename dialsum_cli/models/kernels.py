"""Which kernels models run on a GPU."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from dialsum_cli.models.loading import beneath
from dialsum_cli.models.planning import STEPPED, device

ATTENTION = [
    SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH
]  # fmt: skip


@contextmanager
def ready_attention() -> Iterator[None]:
    """Prefer attention kernels that are there: cuDNN's, a Hopper GPU's default, plan 70 ms for each new shape.

    Batches of dialogues have hardly a shape twice. 18 parts of a prefill took 1.4 s longer the first time.
    """
    with sdpa_kernel(ATTENTION, set_priority=True):
        yield


def fuse(model: PreTrainedModel) -> None:
    """Give a model of a known architecture fewer kernels on a GPU.

    What generation takes of it compiles nothing: fused norms bought 0.4 s of 5.2 for 499 prompts, and a kernel of
    liger-kernel's, which would save another 0.1 s, is 0.6 s in the making.
    """
    if device().type != "cuda" or model.config.model_type not in STEPPED:
        return
    by_silu = getattr(model.config, "hidden_act", None) in ("silu", "swish")
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(_norm, module)
        elif by_silu and hasattr(module, "gate_proj"):
            module.forward = partial(gated, module)
    library: Any = sys.modules[type(beneath(model)).__module__]  # where its layers look for the function
    if hasattr(library, "apply_rotary_pos_emb"):
        library.apply_rotary_pos_emb = rotate


def gated(module: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """What the gated MLP of these architectures computes: in place, or for a gradient by liger-kernel if it is there.

    Shazeer, GLU Variants Improve Transformer, arXiv 2002.05202, section 2. liger-kernel keeps two of the three inner
    vectors for the backward pass.
    """
    gate, up = module.gate_proj(hidden_states), module.up_proj(hidden_states)
    if not torch.is_grad_enabled():
        product = functional.silu(gate, inplace=True).mul_(up)
    elif gate.is_cuda and (fused := _fused_product()):
        product = fused(gate, up)
    else:
        product = functional.silu(gate) * up
    output: torch.Tensor = module.down_proj(product)
    return output


@cache
def _fused_product() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
    if not find_spec("liger_kernel"):
        return None
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    fused: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = LigerSiLUMulFunction.apply
    return fused


def _norm(module: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    """What the RMSNorm of these architectures computes, in one kernel instead of seven."""
    weight = module.weight
    with torch.autocast(hidden_states.device.type, enabled=False):  # it would compute and hand on fp32
        return functional.rms_norm(hidden_states, weight.shape, weight, module.variance_epsilon)


def rotate(
    queries: torch.Tensor, keys: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotary position embeddings, as `apply_rotary_pos_emb` of these architectures; Su et al., arXiv 2104.09864, 3.2.2.

    Args:
        queries: `[rows, heads, tokens, size]`, as keys are, whose heads may be fewer.
        cos: `[rows, tokens, size]`, as `sin` is; their halves along the last dimension are alike.
        unsqueeze_dim: of the heads.
    """
    rotated: Any = _Rotated.apply
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return rotated(queries, cos, sin), rotated(keys, cos, sin)


class _Rotated(torch.autograd.Function):
    """Three kernels where transformers takes five, and half the passes over memory; as many again backwards."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """By the angle whose cosine and sine these are."""
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """By the same angle back."""
        cos, sin = ctx.saved_tensors
        return _turned(gradients[0], cos, sin, -1), None, None


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int) -> torch.Tensor:
    half = x.shape[-1] // 2
    turned = x * cos
    turned[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-sign)
    turned[..., half:].addcmul_(x[..., :half], sin[..., half:], value=sign)
    return turned
