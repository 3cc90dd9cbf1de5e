"""LoRA's layers in training: what PEFT computes, in every layer and number format that models have."""

import warnings
from dataclasses import replace

import pytest
import torch
from tiny_models import make_model

from dialsum_cli.models.loading import load
from dialsum_cli.registry import QLORA, resolve
from dialsum_cli.settings import PredictSettings
from dialsum_cli.training.lora import Adapted, quicken
from dialsum_cli.training.methods import add_adapter, keep_gradients

# peft 0.21 asks transformers 5.23 for a property under its former name.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]
IDS = torch.arange(120).reshape(4, 30) % 90


def adapted(folder, recipe, precision):
    loaded = load(resolve(str(folder)), PredictSettings(precision=precision))
    keep_gradients(loaded.model)
    torch.manual_seed(1)
    model = add_adapter(loaded, recipe).model.train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # which begins as zero, behind which the other half has no gradient
            torch.nn.init.normal_(weight.data, std=0.02)
    return model


def gradients(model, *, autocast=False):
    torch.manual_seed(2)
    ids = IDS.to(model.device)
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=autocast):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    found = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert found
    assert {each.dtype for each in found.values()} == {torch.float32}
    return loss.item(), found


def recomputing(model):
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        model.gradient_checkpointing_enable({"use_reentrant": False})


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("family", "precision", "tolerance"),
    [
        ("llama", "fp32", 1e-6),
        ("qwen", "fp32", 1e-6),
        ("gpt2", "fp32", 1e-6),
        ("llama", "nf4", 1e-6),
        pytest.param("llama", "fp32", 1e-4, marks=pytest.mark.gpu),
        pytest.param("gpt2", "fp32", 1e-4, marks=pytest.mark.gpu),
    ],
)
def test_loss_and_gradients_are_those_of_peft_with_the_same_dropout(
    tmp_path, family, precision, tolerance, dropout, checkpointing
):
    folder = make_model(tmp_path / family, family)
    found = []
    for ours in (False, True):
        model = adapted(folder, replace(QLORA, lora_dropout=dropout), precision)
        if ours:
            quicken(model)
        if checkpointing:
            recomputing(model)
        found.append(gradients(model))
    (loss, theirs), (our_loss, our) = found
    assert our_loss == pytest.approx(loss, abs=tolerance)
    assert our.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(our[name], gradient, atol=tolerance, rtol=10 * tolerance)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("family", ["llama", "qwen"])  # qwen's linear layers have biases
@pytest.mark.parametrize("precision", ["bf16", "fp32", "nf4"])
def test_under_autocast_gradients_are_as_near_to_the_exact_ones_as_pefts(
    tmp_path, family, precision, checkpointing, device
):
    folder = make_model(tmp_path / family, family)
    recipe = replace(QLORA, lora_dropout=0.0)
    exact = gradients(adapted(folder, recipe, precision).float() if precision == "bf16" else
                      adapted(folder, recipe, precision))[1]  # fmt: skip
    theirs = gradients(adapted(folder, recipe, precision), autocast=True)[1]
    model = adapted(folder, recipe, precision)
    assert model.device.type == device
    quicken(model)
    if checkpointing:
        recomputing(model)
    ours = gradients(model, autocast=True)[1]

    def error(found):
        return sum(float((found[name] - each).norm() / each.norm()) for name, each in exact.items()) / len(exact)

    assert 0 < error(ours) < min(0.05, 1.25 * error(theirs))  # a single draw, by whatever kernels a CPU has


def test_what_is_evaluated_is_left_to_peft(tmp_path):
    model = adapted(make_model(tmp_path / "llama", "llama"), QLORA, "bf16").eval()
    with torch.inference_mode():
        theirs = model(input_ids=IDS).logits
        quicken(model)
        assert torch.equal(model(input_ids=IDS).logits, theirs)


def test_an_input_in_fp32_under_autocast_is_computed_in_its_format():
    """As behind a LayerNorm, which a GPU's autocast computes in fp32."""
    torch.manual_seed(3)
    base = torch.nn.Linear(16, 8)
    down, up, x = torch.randn(4, 16), torch.randn(8, 4, requires_grad=True), torch.randn(3, 5, 16, requires_grad=True)
    expected = base(x) + 2.0 * x @ down.T @ up.T
    with torch.autocast("cpu", torch.bfloat16):
        output = Adapted.apply(x, down, up, base, 2.0, 0.0)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, atol=0.1, rtol=0.02)
    theirs = torch.autograd.grad(expected.sum(), (x, up))
    ours = torch.autograd.grad(output.sum(), (x, up))
    assert [each.dtype for each in ours] == [torch.float32] * 2
    torch.testing.assert_close(ours, theirs, atol=0.1, rtol=0.02)


def test_a_model_may_add_to_the_output_in_place():
    base = torch.nn.Linear(4, 4)
    output = Adapted.apply(torch.ones(2, 3, 4, requires_grad=True), torch.ones(1, 4), torch.ones(4, 1), base, 1.0, 0.0)
    output += 1
    output.sum().backward()
