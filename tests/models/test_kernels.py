"""Kernels of ours: what transformers computes in more passes."""

from functools import partial

import pytest
import torch
from tiny_models import make_model
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.exaone4 import modeling_exaone4
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3

from dialsum_cli.models.kernels import fuse, gated, rotate

LIBRARIES = [modeling_exaone4, modeling_llama, modeling_mistral, modeling_qwen2, modeling_qwen3]


@pytest.fixture
def without_tf32():
    before = torch.backends.cuda.matmul.allow_tf32  # a training turns it on
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def drawn(dtype):
    torch.manual_seed(0)
    queries, keys = (torch.randn(3, 7, heads, 16, dtype=dtype).transpose(1, 2).requires_grad_() for heads in (6, 2))
    angles = torch.randn(3, 7, 8)
    cos, sin = (torch.cat([each, each], -1).to(dtype) for each in (angles.cos(), angles.sin()))
    return queries, keys, cos, sin


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__.rpartition("_")[2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 0.03)])
def test_rotations_and_their_gradients_are_those_of_every_known_architecture(library, dtype, tolerance):
    found = []
    for function in (library.apply_rotary_pos_emb, rotate):
        queries, keys, cos, sin = drawn(dtype)
        turned = function(queries, keys, cos, sin)
        torch.manual_seed(1)
        loss = sum((each * torch.randn_like(each)).sum() for each in turned)
        found.append([*turned, *torch.autograd.grad(loss, (queries, keys))])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__.rpartition("_")[2])
def test_the_gated_mlp_and_its_gradient_are_those_of_every_known_architecture(library):
    name = library.__name__.rpartition("_")[2]
    config = AutoConfig.for_model(
        name, hidden_size=8, intermediate_size=12, num_attention_heads=2, num_key_value_heads=1
    )
    torch.manual_seed(0)
    module = getattr(library, f"{name.capitalize()}MLP")(config).double()
    found = []
    for function in (module, partial(gated, module)):
        x = torch.linspace(-3, 3, 80, dtype=torch.float64).reshape(2, 5, 8).requires_grad_()
        output = function(x)
        with torch.no_grad():
            assert torch.equal(function(x), output)
        found.append([output, *torch.autograd.grad(output.square().sum(), [x, *module.parameters()])])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["llama", "qwen", "mistral"])
def test_a_fused_model_computes_what_it_did_and_its_gradients(tmp_path, family, without_tf32):
    folder = make_model(tmp_path / family, family)
    ids, found = torch.arange(60, device="cuda").reshape(3, 20) % 50 + 3, []
    for fused in (False, True):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to("cuda")
        if fused:
            fuse(model)
            changed = {type(module).__name__ for module in model.modules() if "forward" in vars(module)}
            assert {name[-3:] for name in changed} == {"MLP", "orm"}, "each norm and each MLP"
        output = model(input_ids=ids, labels=ids)
        output.loss.backward()
        with torch.inference_mode():
            found.append((output.logits, model(input_ids=ids).logits, model.get_input_embeddings().weight.grad))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
