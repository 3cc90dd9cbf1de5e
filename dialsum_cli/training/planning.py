"""What a training will take, measured on this machine before the first step: memory, time, disk."""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from dialsum_cli import processes
from dialsum_cli.errors import DialsumError, MemoryShortError
from dialsum_cli.models.loading import LoadedModel, out_of_memory
from dialsum_cli.models.planning import batch_tokens, free_bytes, generation_bytes, half, weight_bytes
from dialsum_cli.registry import Recipe
from dialsum_cli.results import TrainingPlan
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.training.batches import Example, StepSampler, full_batches, padded_tokens
from dialsum_cli.training.steps import Steps

PROBES = 10  # steps that are timed, spread over an epoch
ADAM = {"adamw_torch": 8, "paged_adamw_32bit": 8, "paged_adamw_8bit": 2}  # bytes of state for each trained weight


def measure(
    loaded: LoadedModel,
    examples: Sequence[Example],
    recipe: Recipe,
    settings: FinetuneSettings,
    steps: Steps,
    folder: Path,
    dev: int,
) -> TrainingPlan:
    """Compute the widest micro-batch and some steps without taking any, and fit both to memory.

    Gradient checkpointing is turned on where memory asks for it and the settings allow it; after that micro-batches
    are halved. The weights and the random state stay what they are. All processes of a launch measure at once, each
    its own share, and agree on what suits all of them. `dev` is how many dialogues an evaluation summarises.

    Raises:
        DialsumError: a single row does not fit into memory, or the checkpoints not on the disk.
        ElsewhereError: so it is in another process.
    """
    model, cuda = loaded.model, loaded.model.device.type == "cuda"
    rows = steps.share(sorted(examples, key=lambda example: -example.width)[: recipe.batch_size])
    checkpointing = settings.gradient_checkpointing == "on"
    model.train()
    with torch.random.fork_rng([model.device] if cuda else []):
        if checkpointing:
            _enable_checkpointing(model)
        trained = sum(parameter.numel() for parameter in steps.parameters)
        state = trained * ADAM[recipe.optimizer]
        ballast = _ballast(0 if recipe.optimizer.startswith("paged") else state, model.device)
        while rows:  # of a step with fewer rows than there are processes some have none
            if cuda:
                torch.cuda.reset_peak_memory_stats()  # of what did not fit, and of generation before it
            fullest = max(full_batches(rows, steps.budget), key=padded_tokens)
            try:
                steps.gradients(fullest, 1, torch.Tensor.backward)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            steps.clear()
            if settings.gradient_checkpointing == "auto" and not checkpointing:
                checkpointing = True
                torch.cuda.empty_cache()
                _enable_checkpointing(model)
            else:
                steps.halve([fullest])
        peak = torch.cuda.max_memory_allocated() + state - ballast.numel() if cuda else None
        sampler = StepSampler([example.width for example in examples], recipe.batch_size, settings.seed)
        seconds_per_token = _time(steps, examples, [*sampler])
    steps.clear()
    del ballast
    model.eval()
    if cuda:
        torch.cuda.empty_cache()
        most = dev * (max(len(example.prompt_ids) for example in examples) + settings.max_new_tokens)
        tokens = min(most, batch_tokens(model.config, loaded.precision, settings, free_bytes()))
        batches = settings.model_copy(update={"batch_tokens": tokens})
        generating = generation_bytes(model.config, loaded.precision, batches, None)
        peak = max(peak or 0, generating + trained * 4 + state)
    checkpoint, disk = disk_bytes(trained, recipe, settings, model.config)
    if disk > (free := shutil.disk_usage(folder).free):
        raise DialsumError(
            f"{settings.keep_checkpoints + 2} checkpoints of {checkpoint / 1e9:.1f} GB and the model take "
            f"{disk / 1e9:.1f} GB, and the disk of '{folder}' has {free / 1e9:.1f} GB free",
            "`dialsum cache-clean`, fewer --keep-checkpoints, or another --output-dir",
        )
    epoch = seconds_per_token * sum(example.width for example in examples)
    mine = TrainingPlan(
        model=loaded.spec.name,
        method=recipe.method,
        precision=loaded.precision,
        trainable_parameters=trained,
        examples=len(examples),
        steps=int(-(-len(sampler) * recipe.num_epochs // 1)),
        micro_batch_tokens=steps.budget,
        gradient_checkpointing=checkpointing,
        memory_bytes=peak,
        minutes_an_epoch=epoch / 60,
        minutes=epoch * recipe.num_epochs / 60,
        disk_bytes=disk,
        processes=processes.count(),
    )
    plan = _agreed(processes.gathered(mine))
    apply(plan, loaded, steps)
    return plan


def disk_bytes(trained: int, recipe: Recipe, settings: FinetuneSettings, config: PreTrainedConfig) -> tuple[int, int]:
    """What a checkpoint of so many trained weights takes, and what all of them and the model take together.

    There are those to keep, the best one, and the one that is being written.
    """
    checkpoint = trained * (4 + ADAM[recipe.optimizer])
    merged = weight_bytes(config, half()) if settings.merge and recipe.method != "full" else 0
    return checkpoint, checkpoint * (settings.keep_checkpoints + 2) + 4 * trained + merged


def _agreed(plans: Sequence[TrainingPlan]) -> TrainingPlan:
    """The plan that suits every process: as much at once as fits in each, as long as the slowest takes."""
    most = {
        name: max(getattr(plan, name) for plan in plans)
        for name in ("gradient_checkpointing", "minutes_an_epoch", "minutes")
    }
    memory = [plan.memory_bytes for plan in plans if plan.memory_bytes is not None]
    least = min(plan.micro_batch_tokens for plan in plans)
    return plans[0].model_copy(update=most | {"memory_bytes": max(memory, default=None), "micro_batch_tokens": least})


def _ballast(size: int, device: torch.device) -> torch.Tensor:
    """Memory that stands for the optimizer's state, which the first step will bring.

    Raises:
        MemoryShortError: there is no room for it.
    """
    try:
        return torch.empty(size if device.type == "cuda" else 0, dtype=torch.uint8, device=device)
    except torch.OutOfMemoryError:
        raise MemoryShortError(
            f"the optimizer's state of {size / 2**30:.1f} GiB does not fit beside the weights",
            "use --method lora or qlora, or --optimizer paged_adamw_8bit",
        ) from None


def apply(plan: TrainingPlan, loaded: LoadedModel, steps: Steps) -> None:
    """Train as an earlier session of the same run planned: other micro-batches would round differently."""
    steps.budget = plan.micro_batch_tokens
    if plan.gradient_checkpointing:
        _enable_checkpointing(loaded.model)


def _enable_checkpointing(model: PreTrainedModel) -> None:
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # the name that all of transformers 5 knows
        model.gradient_checkpointing_enable({"use_reentrant": False})


def _seconds(steps: Steps, rows: Sequence[Example]) -> float:
    """What this process's share of a step takes."""
    start = perf_counter()
    steps.compute(rows, torch.Tensor.backward)  # which may still halve micro-batches
    if steps.device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def _time(steps: Steps, examples: Sequence[Example], epoch: Sequence[Sequence[int]]) -> float:
    """Seconds a token, over steps that are spread over an epoch from its widest to its narrowest.

    The widest and the narrowest warm up first: a GPU takes memory and chooses kernels when it meets a new shape, which
    costs as much as several steps. Together they take a tenth of an epoch at most, or four steps.
    """
    number = max(2, min(PROBES, len(epoch) // 10 - 2))
    by_width = sorted(epoch, key=lambda rows: -sum(examples[row].width for row in rows))
    chosen = [by_width[round(at * (len(by_width) - 1) / (number - 1))] for at in range(number)]
    rates = []
    for index, rows in enumerate([by_width[0], by_width[-1], *chosen]):
        step = [examples[row] for row in rows]
        seconds = _seconds(steps, step)
        steps.clear()
        if index >= 2:
            rates.append((seconds, sum(row.width for row in step)))
    return sum(seconds for seconds, _ in rates) / sum(tokens for _, tokens in rates)
