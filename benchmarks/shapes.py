"""Models in real shapes with random weights, and what a machine allows: what several benchmarks share."""

import json
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from dialsum_cli import processes
from dialsum_cli.models.planning import DTYPES

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LLAMA = {"model_type": "llama", "vocab_size": 128256, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 500000.0,
         "max_position_embeddings": 8192}  # fmt: skip
LLAMA_8B = LLAMA | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": LLAMA | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                     "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
    "llama3b": LLAMA | {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
                        "num_attention_heads": 24, "tie_word_embeddings": True},
    "llama8b": LLAMA_8B,
    "qwen4b": LLAMA | {"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728,
                       "num_hidden_layers": 36, "num_attention_heads": 32, "rope_theta": 5e6,
                       "tie_word_embeddings": True},
    "solar": LLAMA_8B | {"num_hidden_layers": 48},
}  # fmt: skip


def make(shape: str, precision: str = "bf16", **values: Any) -> PreTrainedModel:
    """A model of a shape with random weights, made on the device; `values` are of its configuration."""
    values = SHAPES[shape] | values
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=DTYPES[precision])
    return quantize(model) if precision == "nf4" else model.eval()


def quantize(model: PreTrainedModel) -> PreTrainedModel:
    """The model in NF4 with double quantisation, as `dialsum` loads one; both are in memory for a while."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip
    load: Any = type(model).from_pretrained
    quantized: PreTrainedModel = load(
        None, config=model.config, state_dict=model.state_dict(), dtype=torch.bfloat16,
        device_map={"": model.device}, quantization_config=quantization,
    )  # fmt: skip
    return quantized


def cap(gib: float) -> None:
    """Let this process take no more of the GPU's memory; 0: all of it."""
    if DEVICE == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(gib * 2**30 / total if gib else 1.0)


def synchronize() -> None:
    """Wait for the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds and, on a GPU, the peak of the memory."""
    synchronize()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = perf_counter()
    work()
    synchronize()
    measured = {"seconds": perf_counter() - start}
    if DEVICE == "cuda":
        measured["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return measured


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


def ceilings() -> dict[str, float]:
    """Bytes a second that a copy reads and writes, and bf16 operations a second of a matrix product."""
    large = DEVICE == "cuda"
    source = torch.empty(2**31 if large else 2**24, dtype=torch.bfloat16, device=DEVICE)
    target = torch.empty_like(source)
    left = torch.randn(8192 if large else 512, 8192 if large else 512, device=DEVICE).bfloat16()
    right = torch.randn_like(left)
    rates = []
    works: list[tuple[Callable[[], object], int]] = [
        (partial(target.copy_, source), 2 * source.numel() * 2),
        (partial(torch.matmul, left, right), 2 * len(left) ** 3),
    ]
    for work, amount in works:
        for _ in range(3):
            work()
        rates.append(20 * amount / timed(partial(_repeat, work, 20))["seconds"])
    return {"copy_bytes_per_second": rates[0], "matmul_flops": rates[1]}


@contextmanager
def filed(output: Path, kept: Path) -> Iterator[dict[str, Any]]:
    """This machine's results, with those of earlier runs; written when a run is done, whatever became of it.

    `kept` holds the earlier ones where there is no `output` yet. Of several processes the first one writes.
    """
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else platform.processor() or platform.machine()
    found = [path for path in (output, kept) if path.exists()]
    machines: dict[str, Any] = json.loads(found[0].read_text()) if found else {}
    results = machines.setdefault(name, {})
    try:
        yield results
    finally:
        if processes.is_first():
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(machines, indent=1) + "\n")
