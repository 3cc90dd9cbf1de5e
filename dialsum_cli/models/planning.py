"""What a model will need, told before its weights are there: precision, memory, depth."""

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel

from dialsum_cli.errors import RequestError
from dialsum_cli.registry import Dtype, ModelSpec
from dialsum_cli.settings import GenerationSettings, ModelSettings

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "nf4": torch.bfloat16}
FITS = 0.8  # share of the free memory that weights may take; the rest is for the batch
INNER_NAMES = ("intermediate_size", "decoder_ffn_dim", "d_ff", "n_inner")
LAYER_NAMES = ("num_hidden_layers", "decoder_layers", "num_decoder_layers", "n_layer")
# Architectures through which `generation.decoding` steps itself: plain attention, one kind of cache.
STEPPED = ("exaone4", "gpt2", "llama", "mistral", "qwen2", "qwen3")
PREFILL_TOKENS = 16_384  # computed at once where a batch has more: enough to keep a GPU's matrix units busy
MOST_TOKENS = 524_288  # of a batch that fits into memory: each reads the weights once a step, whatever its size
MOST_TOKENS_GENERATE = 65_536  # the same for `model.generate`, which computes all of a batch at once
CPU_TOKENS = 16_384  # on a CPU, where larger batches are no faster


def device() -> torch.device:
    """This process's accelerator, or the CPU of its machine.

    By its number, because what transformers loads in threads goes to the first GPU otherwise.
    """
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


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
    if (half() if wanted == "nf4" else wanted) == "fp16" and (overflows or not on_gpu):
        why = "T5 overflows in fp16" if overflows else "a CPU computes fp16 wrongly or not at all"
        raise RequestError(f"{spec.name}: {why}", "use --precision bf16 or fp32")
    if wanted != "auto":
        return wanted, ""
    trained: str = spec.dtype or next((name for name in ("fp16", "fp32") if DTYPES[name] == config.dtype), "bf16")
    if not on_gpu:
        return "fp32", "" if trained == "fp32" else f"{trained} weights are held in fp32: no GPU here"
    preferred = "bf16" if trained == "fp16" and overflows else trained
    if preferred == "bf16" and half() == "fp16":
        preferred = "fp32" if overflows else "fp16"
    free = torch.cuda.mem_get_info()[0]
    needed = weight_bytes(config, preferred)
    if needed > FITS * free and spec.kind == "causal":
        return "nf4", f"{needed / 2**30:.1f} GiB of weights don't fit into {free / 2**30:.1f} GiB: held in 4 bits"
    changed = preferred != trained
    return preferred, f"{trained} is not to be had for this model on this GPU: {preferred}" if changed else ""


def half() -> Dtype:
    """The format of 16 bits that the accelerator computes in; a CPU computes in fp32."""
    if device().type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def computed_in(precision: str) -> torch.dtype:
    """The format in which weights of a precision compute: those of NF4 in the GPU's own 16 bits, in bf16 on a CPU."""
    return DTYPES[half()] if precision == "nf4" and device().type == "cuda" else DTYPES[precision]


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


def stepped(config: PreTrainedConfig, settings: GenerationSettings) -> bool:
    """Whether `generation.decoding` decodes this model, not `model.generate`: greedy or sampled, nothing forbidden."""
    rope = getattr(config, "rope_parameters", None) or {}
    grows = rope.get("rope_type") in ("dynamic", "longrope")  # frequencies that depend on how long the text is by now
    return config.model_type in STEPPED and not grows and settings.num_beams == 1 and settings.no_repeat_ngram_size == 0


def free_bytes() -> int | None:
    """Device memory that this process may still take, `torch.cuda.set_per_process_memory_fraction` counted; None: CPU.

    A CPU's memory is not the limit: its time is.
    """
    if device().type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    allowed = int(torch.cuda.get_per_process_memory_fraction() * total) - reserved
    return min(free, allowed) + reserved - torch.cuda.memory_allocated()


def batch_tokens(
    config: PreTrainedConfig, precision: str, settings: GenerationSettings, free: int | None, members: int = 1
) -> int:
    """Tokens that a batch may hold: as many as the settings say, or else as fit into what `free_bytes` gave.

    Each of several members whose logits are averaged has a cache; they compute one after the other, by `generate`.
    """
    if settings.batch_tokens is not None:
        return settings.batch_tokens
    if free is None:
        return CPU_TOKENS
    cache, widest = token_bytes(config, precision)
    free = int(FITS * free)
    if members > 1 or not stepped(config, settings):
        return max(1, min(MOST_TOKENS_GENERATE, free // ((members * cache + widest) * settings.num_beams)))
    if free < PREFILL_TOKENS * (cache + widest):
        return max(1, free // (cache + widest))
    return min(MOST_TOKENS, (free - PREFILL_TOKENS * widest) // cache)


def peak_bytes(config: PreTrainedConfig, precision: str, tokens: int, num_beams: int = 1, computed: int = 0) -> int:
    """Bytes of device memory at the peak of a batch of so many tokens, to some 15 %: weights, cache, widest layer.

    `computed` is how many tokens are computed at once; 0: all. For NF4 the one matrix that is being dequantised is
    counted as well.
    """
    cache, widest = token_bytes(config, precision)
    text = config.get_text_config(decoder=True)
    dequantized = 2 * text.hidden_size * inner(config) if precision == "nf4" else 0
    computed = min(computed or tokens, tokens)
    return int(weight_bytes(config, precision) + (tokens * cache + computed * widest) * num_beams + dequantized)


def generation_bytes(config: PreTrainedConfig, precision: str, settings: GenerationSettings, free: int | None) -> int:
    """`peak_bytes` of the batches that these settings give where so much is free beside the weights; None: a CPU."""
    tokens = batch_tokens(config, precision, settings, free)
    computed = PREFILL_TOKENS if stepped(config, settings) else tokens
    return peak_bytes(config, precision, tokens, settings.num_beams, computed)


def inner(config: PreTrainedConfig) -> int:
    """Width of the decoder's MLP."""
    text = config.get_text_config(decoder=True)
    return int(next((width for name in INNER_NAMES if (width := getattr(text, name, None))), 4 * text.hidden_size))


def token_bytes(config: PreTrainedConfig, precision: str) -> tuple[int, int]:
    """Bytes that a token takes in the key-value cache, and while it is computed.

    Of the latter are counted what a prefill holds at its widest: attention with the keys and values repeated for each
    query head, or the three inner vectors of a gated MLP (two by `models.kernels`), beside the residual stream in its
    own format and in fp32.
    """
    text = config.get_text_config(decoder=True)
    hidden, heads, depth = text.hidden_size, text.num_attention_heads, layers(config) or 0
    head_size = getattr(text, "head_dim", None) or hidden // heads
    size = DTYPES[precision].itemsize
    cache = 2 * depth * (getattr(text, "num_key_value_heads", None) or heads) * head_size * size
    widest = max(4 * heads * head_size, 3 * inner(config)) + 3 * hidden
    return cache, widest * size + 4 * hidden
