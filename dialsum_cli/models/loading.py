"""Weights and tokenizer from the bundle, a folder or the hub, in the precision that was asked for."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.registry import ModelSpec
from dialsum_cli.settings import ModelSettings

logging.getLogger("bitsandbytes").addHandler(logging.NullHandler())  # on import it warns of kernels that CPUs lack
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "nf4": torch.bfloat16}
FITS = 0.8  # share of the free memory that weights may take; the rest is for the batch
LAYER_NAMES = ("num_hidden_layers", "decoder_layers", "num_decoder_layers", "n_layer")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to generate, and the facts that a result states about it.

    Attributes:
        revision: commit of the hub repository; None for a folder.
        precision: number format of the weights.
        deviation: why that is not what the catalogue prefers; empty where it is.
    """

    spec: ModelSpec
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    parameters: int
    layers: int | None
    revision: str | None
    precision: str
    deviation: str

    @property
    def is_seq2seq(self) -> bool:
        """Whether an encoder reads the dialogue (BART, T5), not a decoder alone."""
        return self.spec.kind == "seq2seq"


def device() -> torch.device:
    """The accelerator of this machine, or its CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def weights_folder(source: str) -> str:
    """A run folder of `finetune` keeps its weights in `model/`; everything else is its own source."""
    inner = Path(source) / "model"
    return str(inner) if (inner / "config.json").is_file() or (inner / "adapter_config.json").is_file() else source


def load(spec: ModelSpec, settings: ModelSettings) -> LoadedModel:
    """Load a model and its tokenizer for generation.

    Raises:
        RequestError: no such repository or folder, gated, or a precision that can't work.
        DialsumError: the hub can't be reached, or the files are damaged.
    """
    quiet()
    source = weights_folder(spec.source)
    try:
        adapter = _adapter_config(source)
        base = adapter["base_model_name_or_path"] if adapter else source
        config = AutoConfig.from_pretrained(base)
        spec = replace(spec, kind="seq2seq" if config.is_encoder_decoder else "causal")
        tokenizer = AutoTokenizer.from_pretrained(source, clean_up_tokenization_spaces=False)
        precision, deviation = choose_precision(spec, config, settings, base)
        model = _load_weights(base, config, precision)
        if adapter:
            from peft import PeftModel

            model = cast(PreTrainedModel, PeftModel.from_pretrained(model, source))
    except (OSError, ValueError) as error:
        raise explain(spec, error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right" if spec.kind == "seq2seq" else "left"
    model.generation_config = _plain_generation(model.generation_config, tokenizer)
    text_config = config.get_text_config(decoder=True)
    layers = next((getattr(text_config, name) for name in LAYER_NAMES if hasattr(text_config, name)), None)
    revision = getattr(config, "_commit_hash", None)
    return LoadedModel(
        spec, model.eval(), tokenizer, model.num_parameters(), layers, revision, precision, deviation
    )  # fmt: skip


def quiet() -> None:
    """Send the messages of the libraries beneath to the run's log, and keep them from drawing progress bars."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_default_handler()
    transformers.utils.logging.add_handler(logging.NullHandler())


def choose_precision(
    spec: ModelSpec, config: PreTrainedConfig, settings: ModelSettings, source: str
) -> tuple[str, str]:
    """The precision to load in, and why it differs from the catalogue's choice (empty: it does not).

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
    needed = _weight_bytes(source)
    if needed > FITS * free and spec.kind == "causal":
        return "nf4", f"{needed / 2**30:.1f} GiB of weights don't fit into {free / 2**30:.1f} GiB: held in 4 bits"
    changed = preferred != trained
    return preferred, f"{trained} is not to be had for this model on this GPU: {preferred}" if changed else ""


def _weight_bytes(source: str) -> int:
    """Bytes of the safetensors files in a folder; 0 where they are not there yet."""
    return sum(file.stat().st_size for file in Path(source).glob("*.safetensors"))


def _adapter_config(source: str) -> dict[str, Any] | None:
    path = Path(source) / "adapter_config.json"
    if not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def _load_weights(source: str, config: PreTrainedConfig, precision: str) -> PreTrainedModel:
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    quantization = None
    if precision == "nf4":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    torch.backends.cuda.matmul.allow_tf32 = True
    model: PreTrainedModel = auto.from_pretrained(
        source,
        config=config,
        dtype=DTYPES[precision],
        device_map={"": device()},
        quantization_config=quantization,
        use_safetensors=True,
    )
    return model


def _plain_generation(theirs: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """The model's special tokens without its sampling habits: what decodes is decided by our settings alone."""
    kept = ("bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id")
    return GenerationConfig(pad_token_id=tokenizer.pad_token_id, **{name: getattr(theirs, name) for name in kept})


def explain(spec: ModelSpec, error: Exception) -> DialsumError:
    """What a loading error means for the user, and what to do about it."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    line = " ".join(str(error).split())[:300]
    name = f"{spec.name} ({spec.source})" if spec.name != spec.source else spec.name
    if any(isinstance(each, GatedRepoError) for each in causes):
        return RequestError(
            f"{name} is gated", f"accept its licence at huggingface.co/{spec.source}, then hf auth login"
        )
    if any(isinstance(each, RepositoryNotFoundError) for each in causes):
        return RequestError(
            f"{name}: the hub has no such repository, or it is private", "check the id, or hf auth login"
        )
    if any(isinstance(each, LocalEntryNotFoundError | HfHubHTTPError | ConnectionError) for each in causes):
        return DialsumError(
            f"{name} is not in the cache, and the hub can't be reached", "check the network and HF_HUB_OFFLINE"
        )
    if isinstance(error, OSError) and ("offline" in line.lower() or "couldn't connect" in line.lower()):
        return DialsumError(
            f"{name} is not in the cache, and the hub can't be reached", "check the network and HF_HUB_OFFLINE"
        )
    return DialsumError(
        f"{name} can't be loaded: {line}", "check the folder or repository; --debug shows the traceback"
    )
