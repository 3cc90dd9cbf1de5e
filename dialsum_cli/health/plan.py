"""What a model will take of this machine: access, download, memory and minutes, foretold without its weights."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dialsum_cli import registry
from dialsum_cli.errors import DialsumError, RequestError, duration, gigabytes
from dialsum_cli.health.machine import free_memory
from dialsum_cli.health.rows import Check, Facts, broken, ok, warning
from dialsum_cli.registry import ModelSpec
from dialsum_cli.results import DoctorRow
from dialsum_cli.settings import DoctorSettings, FinetuneSettings, ScreenSettings, SummarizerSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dialsum_cli.data.dialogues import Dialogue
    from dialsum_cli.models.loading import Checkpoint
    from dialsum_cli.training.batches import Example

Planned = DoctorSettings | ScreenSettings | FinetuneSettings
SAMPLE = 200  # dialogues whose tokens are counted, spread over the data
SMALLER = "choose a smaller model (dialsum models), or ask a server: --base-url http://HOST:8000/v1 --api-model NAME"
# Measured on one H200 with the shape of Llama-3.2-3B, beside its matrix product and copy rates: the share of the first
# that a prefill and training in 16 bits or in NF4 reach, of the second that decoding reaches, and what one layer's
# launches take in a step of `model.generate` where nothing is replayed from a CUDA graph.
PREFILL, TRAINING, TRAINING_NF4, DECODING, LAUNCH_SECONDS = 0.5, 0.5, 0.45, 0.3, 3e-3
# Bytes that a token takes in the layer that is being trained, for each element of two hidden vectors and one of the
# MLP's (216 kB a token were measured on that shape, with LoRA on seven layers).
LAYER_BYTES = 16
LOGIT_BYTES = 8  # of an answer's token for each word of the vocabulary: it and its gradient in 16 bits, and in fp32


def plans(settings: Planned) -> list[Check]:
    """One check for each model that was named."""
    remedy = "dialsum screen --limit 5 --debug --models "
    specs = [registry.resolve(name) for name in settings.models]
    return [Check(spec.name, partial(plan, spec, settings), remedy + spec.name, needs=("torch",)) for spec in specs]


def _foretold(settings: Planned) -> "list[tuple[str, Callable[[str, ModelSpec, Checkpoint], DoctorRow]]]":
    """What is to be foretold: the command whose options these are; for the doctor both, as they are by default."""
    if isinstance(settings, ScreenSettings):
        return [("screening", partial(_screening, settings))]
    if isinstance(settings, FinetuneSettings):
        return [("fine-tuning", partial(_finetuning, settings))]
    from dialsum_cli.data.submissions import columns_by_file

    columns = columns_by_file((settings.data, settings.train), settings.columns, lambda message: None)
    screening = ScreenSettings.model_construct(data=settings.data, columns=columns[settings.data])
    finetuning = FinetuneSettings.model_construct(train=settings.train, dev=settings.data, columns=settings.columns)
    return [*_foretold(screening), *_foretold(finetuning)]


def together(rows: Sequence[DoctorRow]) -> DoctorRow | None:
    """Whether the disk takes the downloads of all models at once, where there are several."""
    facts = [row.facts for row in rows if row.facts.get("download_bytes")]
    sizes, free = [int(each["download_bytes"] or 0) for each in facts], [int(each["free_bytes"] or 0) for each in facts]
    if len(facts) < 2:
        return None
    total, room = sum(sizes), min(free)
    numbers: Facts = {"download_bytes": total, "free_bytes": room}
    found = f"{gigabytes(total)} to download for {len(facts)} models, {gigabytes(room)} of disk free"
    if total <= room:
        return ok("all downloads", found, numbers)
    remedy = "add --delete-cache to screen and finetune: one model at a time is on the disk"
    return warning("all downloads", found, remedy, numbers)


@dataclass(frozen=True, slots=True)
class Rates:
    """What this machine's device does: operations of a matrix product and bytes of a copy, per second."""

    operations: float
    bytes: float


def plan(spec: ModelSpec, settings: Planned) -> Iterator[DoctorRow]:
    """Rows on access and download, and on what is to be done with it; of a model that can't be opened, why not.

    Raises:
        RequestError: as `open_checkpoint`: gated, or not there.
    """
    if spec.kind == "baseline":
        yield ok(spec.name, "a baseline: it needs nothing")
        return
    from dialsum_cli.models.loading import open_checkpoint

    try:
        checkpoint = open_checkpoint(spec)
    except RequestError:
        raise
    except DialsumError as error:  # no hub, as it seems
        yield broken(spec.name, str(error), error.remedy)
        if spec.parameters:
            yield _by_catalogue(spec)
        return
    yield _download(spec, checkpoint)
    for what, look in _foretold(settings):
        try:
            yield look(f"{spec.name}: {what}", spec, checkpoint)
        except DialsumError as error:
            yield broken(f"{spec.name}: {what}", str(error), error.remedy)


def _by_catalogue(spec: ModelSpec) -> DoctorRow:
    """What is known of a model without having seen any file of it."""
    from huggingface_hub import constants

    from dialsum_cli.models.sources import free_disk

    assert spec.parameters
    weights = spec.parameters * 1e9
    size = int(weights * (4 if spec.kind == "seq2seq" or spec.dtype == "fp32" else 2))  # as their repositories have it
    forms = {"16 bits": 2.0} | ({} if spec.kind == "seq2seq" else {"NF4": 0.6})  # with what stays in 16 bits
    memory = ", ".join(f"{_gib(int(weights * each))} GiB in {form}" for form, each in forms.items())
    found = f"{spec.parameters:g} billion parameters: about {gigabytes(size)} to download; weights of {memory}"
    facts: Facts = {"download_bytes": size, "free_bytes": free_disk(Path(constants.HF_HUB_CACHE))}
    return warning(f"{spec.name}: by the catalogue", found, "", facts)


def _download(spec: ModelSpec, checkpoint: "Checkpoint") -> DoctorRow:
    from dialsum_cli.models.sources import free_disk

    sources = {checkpoint.base, checkpoint.source}
    size, free = sum(source.missing_bytes for source in sources), free_disk(checkpoint.base.folder)
    note = "; ".join(source.note for source in sources if source.note)
    name = f"{spec.name}: download"
    facts: Facts = {"download_bytes": size, "free_bytes": free}
    if size == 0:
        here = "bundled" if spec.bundled else "all of it is here"
        return warning(name, note, "", facts) if note else ok(name, here, facts)
    found = f"{gigabytes(size)} to download, {gigabytes(free)} of disk free"
    if size > free:
        return broken(name, found, "dialsum cache-clean --dry-run   # or: export HF_HOME=/a/larger/disk", facts)
    return ok(name, found, facts)


def _screening(settings: ScreenSettings, name: str, spec: ModelSpec, checkpoint: "Checkpoint") -> DoctorRow:
    """Memory of `preflight`, and the time of prefill and decoding at the rates of this machine."""
    from dialsum_cli.models.planning import weight_bytes
    from dialsum_cli.models.preflight import preflight

    _, row = preflight(spec, settings)
    precision = str(row.precision)
    sample, rows = _sampled(settings.data, settings.columns, settings.limit)
    seconds = rows * _seconds_each(checkpoint, precision, settings, sample, rows)
    return _fits(name, f"{precision}, ", int(row.memory_bytes or 0), weight_bytes(checkpoint.config, precision),
                 f"about {duration(seconds)} for {rows:,} dialogues", seconds)  # fmt: skip


def _seconds_each(
    checkpoint: "Checkpoint", precision: str, options: SummarizerSettings, sample: "Sequence[Dialogue]", rows: int
) -> float:
    """What one of so many summaries takes: prefill and decoding at the rates of this machine."""
    from dialsum_cli.models.planning import batch_tokens, free_bytes, skeleton, stepped, token_bytes, weight_bytes
    from dialsum_cli.models.planning import layers as depth_of

    config, prompts = checkpoint.config, _prompt_lengths(checkpoint, sample, options)
    weights = weight_bytes(config, precision)
    free = free_bytes()
    if free is not None:
        free = max(0, free - weights)
    tokens = batch_tokens(config, precision, options, free)
    width = sum(prompts) / len(prompts) + options.max_new_tokens
    batches = max(1, -(-rows * width // tokens))
    cached = rows * width / batches * token_bytes(config, precision)[0]
    rates = _rates(precision)
    body, head = _multiplied(skeleton(config))
    seconds = 2 * body * rows * (width - options.max_new_tokens) / (PREFILL * rates.operations)
    steps = batches * options.max_new_tokens
    read = (weights + cached) / (DECODING * rates.bytes)
    computed = 2 * (body + head) * rows / batches / (PREFILL * rates.operations)
    launched = 0.0 if free is None or stepped(config, options) else LAUNCH_SECONDS * (depth_of(config) or 0)
    return float(seconds + steps * (max(read, computed) + launched)) / rows


def _finetuning(settings: FinetuneSettings, name: str, spec: ModelSpec, checkpoint: "Checkpoint") -> DoctorRow:
    """The least that training takes, a row at once with gradient checkpointing, and its time with all evaluations."""
    from dialsum_cli.data.submissions import columns_by_file
    from dialsum_cli.models.planning import DTYPES, inner, skeleton, weight_bytes
    from dialsum_cli.models.planning import layers as depth_of
    from dialsum_cli.training.methods import choose
    from dialsum_cli.training.planning import ADAM, disk_bytes

    if checkpoint.adapter:
        return ok(name, "an adapter already: fine-tune its base model")
    choices = choose(checkpoint.spec, checkpoint.config, settings)
    recipe, config = choices.recipe, checkpoint.config
    columns = columns_by_file((settings.train, settings.dev), settings.columns, lambda message: None)
    sample, rows = _sampled(settings.train, columns[settings.train], references=True)
    examples = _examples(checkpoint, sample, settings)
    width = sum(example.width for example in examples) / len(examples)
    longest = max(example.width for example in examples)
    model, text = skeleton(config), config.get_text_config(decoder=True)
    parameters, weights = model.num_parameters(), weight_bytes(config, choices.precision)
    trained = parameters if recipe.method == "full" else _adapter_parameters(model, recipe.lora_r)
    state = trained * (4 + ADAM[recipe.optimizer]) + (0 if recipe.method == "full" else 4 * trained)
    kept = (depth_of(config) or 0) * text.hidden_size * DTYPES[choices.computed_in].itemsize
    answers = max(len(example.answer_ids) for example in examples) * text.vocab_size * LOGIT_BYTES
    memory = int(weights + state + longest * (kept + LAYER_BYTES * (2 * text.hidden_size + inner(config))) + answers)
    # Forward, gradients of what flows through frozen weights, and the forward once more: 2 operations each.
    operations = 6 * _multiplied(model)[0] * width * rows * recipe.num_epochs
    share = TRAINING_NF4 if choices.precision == "nf4" else TRAINING
    seconds = operations / (share * _rates(choices.computed_in).operations)
    steps = -(-rows // recipe.batch_size) * recipe.num_epochs
    evaluations = steps / settings.eval_steps if settings.eval_steps else recipe.num_epochs
    dialogues, dev = _sampled(settings.dev, columns[settings.dev])
    judged = 2 * dev + evaluations * min(dev, settings.eval_limit or dev)  # all of dev before and after
    seconds += judged * _seconds_each(checkpoint, choices.precision, settings, dialogues, dev)
    _, disk = disk_bytes(trained, recipe, settings, config)
    epochs = f"{recipe.num_epochs:g} epoch{'s' * (recipe.num_epochs != 1)}"
    return _fits(name, f"{recipe.method} on {choices.precision}, at least ", memory, memory,
                 f"about {duration(seconds)} for {epochs} of {rows:,} dialogues and {judged:,.0f} summaries of dev; "
                 f"{gigabytes(disk)} of disk", seconds, disk_bytes=disk)  # fmt: skip


def _fits(name: str, how: str, memory: int, least: int, time: str, seconds: float, **further: int) -> DoctorRow:
    """A row on memory: of the GPU, or where there is none of the machine."""
    from dialsum_cli.models.planning import free_bytes

    on_gpu = free_bytes()
    free = free_memory() if on_gpu is None else on_gpu
    numbers: Facts = {"memory_bytes": memory, "free_memory_bytes": free, "minutes": seconds / 60, **further}
    where = "GPU memory" if on_gpu is not None else "memory"
    room = "" if free is None else f" of {_gib(free)}"
    found = f"{how}{_gib(memory)}{room} GiB of free {where}; {time}"
    if free is not None and least > free:
        return broken(name, found, SMALLER, numbers)
    if free is not None and memory > free:
        return warning(name, f"{found}; a full batch doesn't fit, and batches will be halved", "", numbers)
    return ok(name, found, numbers)


def _sampled(
    path: str, columns: dict[str, str], limit: int | None = None, *, references: bool = False
) -> "tuple[list[Dialogue], int]":
    """Some dialogues, spread over a data set, and how many it has."""
    from dialsum_cli.data.dialogues import read_dialogues

    dialogues = read_dialogues(path, columns=columns, limit=limit, references=references)
    return dialogues[:: -(-len(dialogues) // SAMPLE)], len(dialogues)


def _prompt_lengths(
    checkpoint: "Checkpoint", dialogues: "Sequence[Dialogue]", options: SummarizerSettings
) -> list[int]:
    from dialsum_cli.engines.huggingface import open_prompt
    from dialsum_cli.models.loading import load_tokenizer

    prompt, most = open_prompt(checkpoint.spec, checkpoint.config, load_tokenizer(checkpoint), options)
    return [len(prompt.encode(dialogue.text, most).ids) for dialogue in dialogues]


def _examples(checkpoint: "Checkpoint", dialogues: "Sequence[Dialogue]", options: FinetuneSettings) -> "list[Example]":
    from dialsum_cli.engines.huggingface import open_prompt
    from dialsum_cli.models.loading import load_tokenizer
    from dialsum_cli.training.batches import make_examples

    prompt, most = open_prompt(checkpoint.spec, checkpoint.config, load_tokenizer(checkpoint), options)
    return make_examples(dialogues, prompt, most, options.max_new_tokens).items


def _multiplied(model: "PreTrainedModel") -> tuple[int, int]:
    """Weights that each token of a prompt is multiplied with, and those of the output layer, which few tokens reach."""
    layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    tables = {id(layer.weight): layer.weight.numel() for layer in layers}  # which may be one and the same
    return model.num_parameters() - sum(tables.values()), int(layers[1].weight.numel())


def _adapter_parameters(model: "PreTrainedModel", rank: int) -> int:
    """Of LoRA on every linear layer but the output's."""
    import torch

    head = model.get_output_embeddings()
    linear = (each for each in model.modules() if isinstance(each, torch.nn.Linear) and each is not head)
    return sum(rank * (each.in_features + each.out_features) for each in linear)


@cache
def _rates(precision: str) -> Rates:
    """Measured: a matrix product in this precision, and a copy, each large enough to be no matter of latency."""
    import torch

    from dialsum_cli.models.planning import DTYPES, device

    cuda = device().type == "cuda"
    size, rounds = (8192, 10) if cuda else (1024, 3)
    matrix = torch.ones(size, size, device=device(), dtype=DTYPES[precision])
    block = torch.ones((2**28 if cuda else 2**26) // 4, device=device())
    target = torch.empty_like(block)

    def seconds(work: Callable[[], object]) -> float:
        work()
        if cuda:
            torch.cuda.synchronize()
        start = perf_counter()
        for _ in range(rounds):
            work()
        if cuda:
            torch.cuda.synchronize()
        return (perf_counter() - start) / rounds

    operations = 2 * size**3 / seconds(lambda: matrix @ matrix)
    return Rates(operations, 2 * block.nbytes / seconds(lambda: target.copy_(block)))


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f}" if count > 2**30 else f"{count / 2**30:.2g}"
