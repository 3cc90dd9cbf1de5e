"""What is trained of a model, and by which recipe: all weights, or an adapter on frozen ones."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from transformers import AddedToken, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import RequestError
from dialsum_cli.models.loading import LoadedModel
from dialsum_cli.models.planning import device, free_bytes, half, skeleton, weight_bytes
from dialsum_cli.registry import FULL_SMALL, QLORA, QLORA_7B, QLORA_14B, Dtype, Method, ModelSpec, Recipe
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.text import TAG

ROOMY = 0.5  # share of the free memory up to which weights in half precision leave enough for training an adapter
_READ_BACK = 500  # summaries that are enough to tell how a tokenizer reads
PRECISIONS = {"full": ("fp32",), "lora": ("bf16", "fp16", "fp32"), "qlora": ("nf4",)}


@dataclass(frozen=True, slots=True)
class Choices:
    """How a model is going to be trained.

    Attributes:
        recipe: every value resolved; its method is none but full, lora and qlora.
        precision: number format in which the frozen weights are held, or the trained ones.
        computed_in: number format of the matrix products.
        sources: where each value of the recipe, and the precision, comes from, by its name.
        notes: what the user should know about these choices.
    """

    recipe: Recipe
    precision: str
    computed_in: Dtype
    sources: dict[str, str]
    notes: tuple[str, ...]


def check_trainable(spec: ModelSpec, settings: FinetuneSettings) -> None:
    """Refuse what can't be fine-tuned, as far as it is known without its configuration.

    Raises:
        RequestError: a baseline, or a method and a precision that exclude each other.
    """
    if spec.kind == "baseline":
        raise RequestError(f"'{spec.name}' is a baseline: it has no weights to train", "name a model")
    if spec.kind == "seq2seq" and settings.method in ("lora", "qlora"):
        raise RequestError(
            f"--method {settings.method}: {spec.name} is an encoder-decoder, and these are trained in full",
            "leave it out",
        )
    _check_precision(spec, settings.method or (spec.recipe.method if spec.recipe else "auto"), settings)


def _check_precision(spec: ModelSpec, method: Method, settings: FinetuneSettings) -> None:
    allowed = PRECISIONS.get(method, ("nf4", "bf16", "fp16", "fp32"))
    if settings.precision not in ("auto", *allowed):
        raise RequestError(
            f"--precision {settings.precision}: --method {method} holds the weights of {spec.name} in "
            f"{' or '.join(allowed)}",
            "leave one of the two out",
        )


def choose(spec: ModelSpec, config: PreTrainedConfig, settings: FinetuneSettings) -> Choices:
    """The recipe of a model with what the settings override, its method and precision chosen by memory.

    Raises:
        RequestError: as `check_trainable`, now that the model's kind is known.
    """
    check_trainable(spec, settings)
    recipe, source = spec.recipe, f"recipe of {spec.name}"
    notes = []
    if recipe is None:
        recipe, source = _by_size(spec, config)
        notes.append(f"{spec.name} has no recipe in the catalogue: it gets that of {source}")
    given = {field.name: getattr(settings, field.name) for field in fields(Recipe)}
    given = {name: value for name, value in given.items() if value is not None}
    sources = {field.name: "given" if field.name in given else source for field in fields(Recipe)}
    recipe = replace(recipe, **given)
    on_gpu = device().type == "cuda"
    if recipe.method == "auto":
        method, why = _method(spec, config, settings)
        recipe, sources["method"] = replace(recipe, method=method), f"auto: {why}"
        notes.append(f"{spec.name} is trained by {method}: {why}")
    _check_precision(spec, recipe.method, settings)
    if recipe.method == "full" and (unused := [name.replace("_", "-") for name in given if name.startswith("lora_")]):
        notes.append(f"{spec.name}: all its weights are trained, without --{' and --'.join(unused)}")
    if recipe.optimizer.startswith("paged") and not on_gpu:
        recipe, sources["optimizer"] = replace(recipe, optimizer="adamw_torch"), "no GPU whose memory could be paged"
        notes.append(f"{spec.name}: adamw_torch instead of paged_adamw, for want of a GPU whose memory could be paged")
    precision: str = settings.precision
    sources["precision"] = "given"
    if precision == "auto":
        precision = {"full": "fp32", "lora": half(), "qlora": "nf4"}[recipe.method]
        sources["precision"] = f"auto: for --method {recipe.method} on this machine"
    return Choices(recipe, precision, half(), sources, tuple(notes))


def _by_size(spec: ModelSpec, config: PreTrainedConfig) -> tuple[Recipe, str]:
    """The recipe of the catalogue's models that are most like this one."""
    if spec.kind == "seq2seq":
        return FULL_SMALL, "encoder-decoders"
    billions = skeleton(config).num_parameters() / 1e9
    if billions < 6:
        return QLORA, "chat models below 6B"
    return (QLORA_7B, "chat models of 7B and 8B") if billions < 13 else (QLORA_14B, "chat models from 13B on")


def _method(spec: ModelSpec, config: PreTrainedConfig, settings: FinetuneSettings) -> tuple[Method, str]:
    """`full`, `lora` or `qlora`, and why."""
    if spec.kind == "seq2seq":
        return "full", "encoder-decoders are trained in full"
    if settings.precision != "auto":
        return ("qlora" if settings.precision == "nf4" else "lora"), f"--precision {settings.precision}"
    if device().type != "cuda":
        return "lora", "an adapter on fp32 weights, as there is no GPU"
    needed, free = weight_bytes(config, "bf16"), free_bytes() or 0
    sizes = f"{needed / 2**30:.1f} GiB of weights in half precision, {free / 2**30:.1f} GiB free"
    return ("lora" if needed <= ROOMY * free else "qlora"), sizes


def keep_gradients(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from packing 4-bit weights on a CPU: the kernel that it packs them for has no gradient.

    It packs the weights of a layer when that isn't in training mode (0.50, nn/modules.py), as in an evaluation, and
    never unpacks them: gradients would be silently wrong from then on. These layers know no other use of their mode.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit) and device().type == "cpu":
            module.training = True
            vars(module)["train"] = lambda mode=True, module=module: module


def prepare(loaded: LoadedModel, recipe: Recipe, dialogues: Sequence[Dialogue], seed: int) -> tuple[LoadedModel, str]:
    """The model with what is going to be trained of it, and a note; "" where there is nothing to say.

    `seed` decides the first weights of an adapter.
    """
    set_seed(seed)
    if recipe.method != "full":
        return add_adapter(loaded, recipe), ""
    return add_tags(loaded, dialogues) if loaded.is_seq2seq else (loaded, "")


def add_adapter(loaded: LoadedModel, recipe: Recipe) -> LoadedModel:
    """The model with a fresh LoRA adapter on every linear layer but the output's, and all else frozen.

    The adapter is held in fp32: steps of 1e-4 are lost in half precision.
    """
    from peft import LoraConfig, TaskType, get_peft_model  # its import of bitsandbytes says things that loading hushes

    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules="all-linear",
        revision=loaded.revision,
    )
    model = get_peft_model(cast(Any, loaded.model), config, autocast_adapter_dtype=True)
    return replace(loaded, model=cast(PreTrainedModel, model))


def add_tags(loaded: LoadedModel, dialogues: Sequence[Dialogue]) -> tuple[LoadedModel, str]:
    """An encoder-decoder with `own_tokens` for tags, each the mean of what it was written with; and a note."""
    tokenizer, tags, note = own_tokens(loaded.tokenizer, dialogues)
    if not tags:
        return loaded, note
    if len(tokenizer) > cast(torch.nn.Embedding, loaded.model.get_input_embeddings()).num_embeddings:
        loaded.model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for table in {loaded.model.get_input_embeddings(), loaded.model.get_output_embeddings()}:
        weight = cast(torch.nn.Embedding, table).weight.data
        for tag in tags:
            pieces = loaded.tokenizer.encode(tag, add_special_tokens=False)
            weight[tokenizer.convert_tokens_to_ids(tag)] = weight[pieces].mean(dim=0)
    return replace(loaded, tokenizer=tokenizer), note


def own_tokens(
    tokenizer: PreTrainedTokenizerBase, dialogues: Sequence[Dialogue]
) -> tuple[PreTrainedTokenizerBase, list[str], str]:
    """A tokenizer with a token for each tag of the data that it cut up, these tags, and a note; "" for none.

    Tags that the data don't have get none: nothing would train their embedding. Nor does any get one where that would
    change how a summary reads, as with tokenizers that put a blank after such a token.
    """
    references = [reference for dialogue in dialogues for reference in dialogue.references]
    found = {tag for text in (*references, *(dialogue.text for dialogue in dialogues)) for tag in TAG.findall(text)}
    tags = sorted(tag for tag in found if len(tokenizer.encode(tag, add_special_tokens=False)) > 1)
    if not tags:
        return tokenizer, [], ""
    extended = deepcopy(tokenizer)
    extended.add_tokens([AddedToken(tag, normalized=False) for tag in tags])
    tagged = [reference for reference in references if TAG.search(reference)][:_READ_BACK]
    if any(_read_back(extended, text) != _read_back(tokenizer, text) for text in tagged):
        return tokenizer, [], f"{', '.join(tags)} stay several tokens: as one, they would change how a summary reads"
    return extended, tags, f"{', '.join(tags)} got tokens of their own, which are trained"


def _read_back(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    decode: Any = tokenizer.decode  # typed as what it gives for batches as well
    ids = tokenizer.encode(text, add_special_tokens=False)
    return str(decode(ids, clean_up_tokenization_spaces=False))
