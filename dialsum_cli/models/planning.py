"""What a model will need, told before its weights are there: precision, memory, depth."""

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel

from dialsum_cli.errors import RequestError
from dialsum_cli.registry import ModelSpec
from dialsum_cli.settings import ModelSettings

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "nf4": torch.bfloat16}
FITS = 0.8  # share of the free memory that weights may take; the rest is for the batch
INNER_NAMES = ("intermediate_size", "decoder_ffn_dim", "d_ff", "n_inner")
LAYER_NAMES = ("num_hidden_layers", "decoder_layers", "num_decoder_layers", "n_layer")


def device() -> torch.device:
    """The accelerator of this machine, or its CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(spec: ModelSpec, config: PreTrainedConfig, settings: ModelSettings) -> tuple[str, str]:
    """The precision to load in, and why it differs from the catalogue's choice (empty: it does not).

    `auto` is the catalogue's choice, or what the configuration says of a model outside it; fp32 on a CPU, NF4 where
    the weights of a causal model would take more than `FITS` of the device's free memory.

    Raises:
        RequestError: the precision asked for overflows or is not there.
    """
    on_gpu = device().type == "cuda"
    overflows = config.model_type in ("t5", "mt5", "umt5")
    wanted = settings.precision
    if wanted == "fp16" and (overflows or not on_gpu):
        why = "T5 overflows in fp16" if overflows else "a CPU computes fp16 wrongly or not at all"
        raise RequestError(f"{spec.name}: {why}", "use --precision bf16 or fp32")
    if wanted != "auto":
        return wanted, ""
    trained: str = spec.dtype or next((name for name in ("fp16", "fp32") if DTYPES[name] == config.dtype), "bf16")
    if not on_gpu:
        return "fp32", "" if trained == "fp32" else f"{trained} weights are held in fp32: no GPU here"
    preferred = "bf16" if trained == "fp16" and overflows else trained
    if preferred == "bf16" and not torch.cuda.is_bf16_supported():
        preferred = "fp32" if overflows else "fp16"
    free = torch.cuda.mem_get_info()[0]
    needed = weight_bytes(config, preferred)
    if needed > FITS * free and spec.kind == "causal":
        return "nf4", f"{needed / 2**30:.1f} GiB of weights don't fit into {free / 2**30:.1f} GiB: held in 4 bits"
    changed = preferred != trained
    return preferred, f"{trained} is not to be had for this model on this GPU: {preferred}" if changed else ""


def layers(config: PreTrainedConfig) -> int | None:
    """Decoder layers."""
    text_config = config.get_text_config(decoder=True)
    return next((getattr(text_config, name) for name in LAYER_NAMES if hasattr(text_config, name)), None)


def skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """A model without its weights: every tensor has its shape and no data.

    Raises:
        ValueError: transformers has no model for this configuration that writes text.
    """
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model: PreTrainedModel = auto.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    return model


def weight_bytes(config: PreTrainedConfig, precision: str) -> int:
    """Bytes that a model's weights take on the device; in NF4 the linear layers alone have 4 bits.

    NF4 with double quantisation: 4 bits a weight, 8 for the scale of each 64 of them, 32 for the scale of each 256
    scales (Dettmers et al. 2023, arXiv 2305.14314, section 3); embeddings, norms and the output layer stay bf16.
    """
    model = skeleton(config)
    total = model.num_parameters()
    if precision != "nf4":
        return total * DTYPES[precision].itemsize
    head = model.get_output_embeddings()
    quantized = sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    )
    return int(quantized * (4 + 8 / 64 + 32 / (64 * 256)) / 8) + (total - quantized) * 2


def peak_bytes(config: PreTrainedConfig, precision: str, batch_tokens: int, num_beams: int = 1) -> int:
    """Bytes of device memory at the peak of a full batch, to some 15 %: weights, key-value cache, widest layer.

    Counted are what a prefill holds at its widest (attention with the keys and values repeated for each query head,
    or the three inner vectors of a gated MLP, beside the residual stream in its own format and in fp32), and for NF4
    the one matrix that is being dequantised.
    """
    text = config.get_text_config(decoder=True)
    hidden, heads, depth = text.hidden_size, text.num_attention_heads, layers(config) or 0
    inner = next((width for name in INNER_NAMES if (width := getattr(text, name, None))), 4 * hidden)
    head_size = getattr(text, "head_dim", None) or hidden // heads
    size = DTYPES[precision].itemsize
    cache = 2 * depth * (getattr(text, "num_key_value_heads", None) or heads) * head_size * size
    widest = max(4 * heads * head_size, 3 * inner) + 3 * hidden
    dequantized = 2 * hidden * inner if precision == "nf4" else 0
    per_token = cache + widest * size + 4 * hidden
    return int(weight_bytes(config, precision) + batch_tokens * num_beams * per_token + dequantized)
