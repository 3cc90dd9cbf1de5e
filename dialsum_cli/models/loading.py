"""Weights and tokenizer from the bundle, a folder or the hub, in the precision that was asked for."""

import json
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from safetensors import SafetensorError
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

from dialsum_cli.errors import DialsumError, MemoryShortError, RequestError
from dialsum_cli.models.planning import choose_precision, computed_in, device, layers
from dialsum_cli.models.sources import Source, fetch, find
from dialsum_cli.registry import ModelSpec, resolve
from dialsum_cli.settings import ModelSettings, Precision

KOREAN = "ko_KR"  # as mBART calls it


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to generate, and the facts that a result states about it.

    Attributes:
        revision: commit of the hub repository; None for a folder.
        precision: number format of the weights.
        deviation: what is not as the catalogue prefers or the hub has it, and why; empty where all is.
        identity: what no other weights share.
        folder: where its files are.
    """

    spec: ModelSpec
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    parameters: int
    layers: int | None
    revision: str | None
    precision: str
    deviation: str
    identity: str
    folder: Path

    @property
    def is_seq2seq(self) -> bool:
        """Whether an encoder reads the dialogue (BART, T5), not a decoder alone."""
        return self.spec.kind == "seq2seq"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model before its weights are loaded.

    Attributes:
        adapter: where its LoRA adapter is; None for a model that has none.
        base: where its weights are.
        spec: the model with its kind as the configuration has it, pinned to its commit.
    """

    spec: ModelSpec
    config: PreTrainedConfig
    base: Source
    adapter: Source | None

    @property
    def source(self) -> Source:
        """Where the model is that was asked for."""
        return self.adapter or self.base

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that has its files: an adapter and its base, or the model alone."""
        return tuple(dict.fromkeys((self.source, self.base)))

    @property
    def tokenizer(self) -> Source:
        """Where its tokenizer is: an adapter that PEFT alone has saved has none of its own."""
        files = ("tokenizer.json", "tokenizer_config.json")
        return self.source if any((self.source.folder / file).is_file() for file in files) else self.base

    def deviation(self, of_precision: str) -> str:
        """What is not as the catalogue prefers, as `choose_precision` says it, or as the hub has it; may be empty."""
        return "; ".join(dict.fromkeys(filter(None, (of_precision, *(each.note for each in self.sources)))))


def open_checkpoint(spec: ModelSpec) -> Checkpoint:
    """Find a model and read its configuration; of a model on the hub that is all that gets downloaded.

    Raises:
        RequestError: no such repository or folder, gated, without safetensors, or nothing that writes text.
        DialsumError: the hub can't be reached, or the files are damaged.
    """
    quiet()
    source = find(spec.source, spec.revision)
    try:
        adapter = _adapter_config(source)
        base = find(adapter["base_model_name_or_path"], adapter.get("revision")) if adapter else source
        config = AutoConfig.from_pretrained(base.folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise explain(spec, source, error) from error
    spec = replace(spec, kind="seq2seq" if config.is_encoder_decoder else "causal", revision=source.revision)
    return Checkpoint(spec, config, base, source if adapter else None)


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """A model's tokenizer, for which no weights are needed; it pads where generation wants it.

    Raises:
        DialsumError: its files are damaged.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            checkpoint.tokenizer.folder, clean_up_tokenization_spaces=False, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise explain(checkpoint.spec, checkpoint.tokenizer, error) from error
    if KOREAN in _languages(tokenizer):
        cast(Any, tokenizer).src_lang = KOREAN  # it would begin its texts as English
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right" if checkpoint.spec.kind == "seq2seq" else "left"
    return tokenizer


def download(spec: ModelSpec, settings: ModelSettings) -> tuple[Checkpoint, str, str]:
    """Have all files of a model on this disk, once it is certain that it can be loaded in this precision.

    Returns:
        The model, its precision, and why that differs from the catalogue's choice, as `choose_precision` says it.

    Raises:
        RequestError: as `open_checkpoint`, or a precision that can't work.
        DialsumError: as `open_checkpoint`, or the disk has no room.
    """
    checkpoint = open_checkpoint(spec)
    precision, deviation = choose_precision(checkpoint.spec, checkpoint.config, settings)
    for each in checkpoint.sources:
        fetch(each)
    return checkpoint, precision, deviation


def load(spec: ModelSpec, settings: ModelSettings) -> LoadedModel:
    """Load a model and its tokenizer for generation; from the hub, all of it at one commit.

    Raises:
        RequestError: as `download`.
        DialsumError: as `download`, or memory runs out, or weights are missing.
    """
    checkpoint, precision, deviation = download(spec, settings)
    spec, config, base, source = checkpoint.spec, checkpoint.config, checkpoint.base, checkpoint.source
    tokenizer = load_tokenizer(checkpoint)
    try:
        model = _load_weights(base, config, precision)
        if checkpoint.adapter:
            from peft import PeftModel

            model = cast(PreTrainedModel, PeftModel.from_pretrained(model, checkpoint.adapter.folder))
    except (OSError, ValueError, RuntimeError, MemoryError, SafetensorError) as error:
        raise explain(spec, source, error) from error
    model.generation_config = _plain_generation(model.generation_config, tokenizer)
    identity = " on ".join(each.identity() for each in checkpoint.sources)
    return LoadedModel(
        spec, model.eval(), tokenizer, model.num_parameters(), layers(config), source.revision or base.revision,
        precision, checkpoint.deviation(deviation), identity, source.folder,
    )  # fmt: skip


def load_model(name: str, precision: Precision = "auto") -> LoadedModel:
    """The model and tokenizer of a name, ready to generate or to train: `loaded.model`, `loaded.tokenizer`.

    Args:
        name: what `--models` takes: a catalogue name, a Hugging Face id, a folder, a run of `dialsum finetune`.
        precision: as `--precision`.

    Raises:
        RequestError: there is no such model, or a baseline, which has no weights; or as `load`.
        DialsumError: as `load`.
    """
    spec = resolve(name)
    if spec.kind == "baseline":
        raise RequestError(f"'{name}' is a baseline: it has no weights to load", "name a model")
    return load(spec, ModelSettings(precision=precision))


def beneath(model: PreTrainedModel) -> PreTrainedModel:
    """The model beneath an adapter, whose layers the adapter has changed in place; any other model itself."""
    return cast(PreTrainedModel, getattr(model, "get_base_model", lambda: model)())


def quiet() -> None:
    """Send the messages of the libraries beneath to the run's log, and keep them from drawing progress bars."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_default_handler()
    transformers.utils.logging.add_handler(logging.NullHandler())


def _adapter_config(source: Source) -> dict[str, Any] | None:
    path = source.folder / "adapter_config.json"
    if not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def _load_weights(source: Source, config: PreTrainedConfig, precision: str) -> PreTrainedModel:
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    quantization = None
    if precision == "nf4":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=computed_in(precision),
        )
    torch.backends.cuda.matmul.allow_tf32 = True
    loaded: Any = auto.from_pretrained(
        source.folder,
        config=config,
        dtype=computed_in(precision),
        device_map={"": device()},
        quantization_config=quantization,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    model, loading = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
    if missing := sorted(loading["missing_keys"]):  # transformers would go on with random numbers in their place
        raise ValueError(f"{len(missing)} of its weights are missing, such as {missing[0]}")
    return model


def _plain_generation(theirs: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """The model's special tokens without its sampling habits: what decodes is decided by our settings alone."""
    kept = ("bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id")
    values = {name: getattr(theirs, name) for name in kept}
    if KOREAN in (codes := _languages(tokenizer)):
        values["forced_bos_token_id"] = codes[KOREAN]
    return GenerationConfig(pad_token_id=tokenizer.pad_token_id, **values)


def _languages(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The ids of the language codes with which a multilingual tokenizer (mBART) begins its texts."""
    return getattr(tokenizer, "lang_code_to_id", {})


def explain(spec: ModelSpec, source: Source, error: Exception) -> DialsumError:
    """What a loading error means for the user, and what to do about it."""
    name, text = spec.name, " ".join(str(error).split())
    line = text if len(text) <= 300 else f"{text[:300]}…"
    known = "choose a model that transformers knows: `dialsum models` lists some"
    if out_of_memory(error):
        return MemoryShortError(f"{name} does not fit into memory", "use --precision nf4, or a smaller model")
    if "CUDA driver error" in text:
        return DialsumError(
            f"the GPU's driver failed to hold {name}: {line}",
            "`export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:False`, and run the same command again",
        )
    if "trust_remote_code" in text:
        return RequestError(f"{name} brings program code of its own, and dialsum runs no code from a model", known)
    if "does not recognize this architecture" in text:
        kind = re.search(r"model type `([^`]*)`", text)
        return RequestError(
            f"{name} has an architecture{f' ({kind[1]})' if kind else ''} that transformers {transformers.__version__} "
            "does not know",
            f"pip install -U transformers, or {known}",
        )
    if "Unrecognized model" in text:
        runs = sorted(path.parent for path in source.folder.glob("*/model") if path.is_dir())
        remedy = f"it holds runs: name one of them, as '{runs[-1]}'" if runs else known
        return RequestError(f"{name} has no config.json that names an architecture", remedy)
    if "Unrecognized configuration class" in text:
        return RequestError(f"{name} is a model that writes no text", known)
    again = "copy the folder again"
    if source.revision:
        repository = source.folder.parents[1]  # of a snapshot alone, the damaged file would be linked again
        again = f"delete '{repository}', and run the same command again"
    if isinstance(error, SafetensorError) or "weights are missing" in text:
        return DialsumError(f"the weights of {name} are not whole: {line}", again)
    if isinstance(error, OSError) and "no file named" in text.lower():
        return DialsumError(f"{name} has no weights as safetensors in '{source.folder}'", again)
    return DialsumError(f"{name} can't be loaded: {line}", f"{again}; --debug shows the traceback")


# How torch says that memory ran out where it has no class for it: a CPU's allocator, cuBLAS's workspace.
_NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, the device's or the machine's."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in _NO_MEMORY)
