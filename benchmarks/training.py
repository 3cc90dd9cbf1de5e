"""How fast adapters are trained, beside the seed's recipe and TRL (pip install trl==1.16): training.py --help."""

import argparse
import random
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from math import log
from pathlib import Path
from time import perf_counter
from typing import Any

import dialsum_cli  # noqa: F401 - before torch, which it tells how to hold memory

# isort: split
import torch
import transformers
from accelerate.state import AcceleratorState
from machine import machine
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from shapes import DEVICE, SHAPES, cap, ceilings, filed, make, synchronize
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast, Trainer

from dialsum_cli import processes
from dialsum_cli.engines.huggingface import release_memory
from dialsum_cli.errors import DialsumError
from dialsum_cli.models.kernels import fuse
from dialsum_cli.models.loading import LoadedModel, out_of_memory, quiet
from dialsum_cli.models.planning import half, skeleton
from dialsum_cli.registry import QLORA, ModelSpec, Recipe
from dialsum_cli.reporter import Reporter, Stage
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.training import planning
from dialsum_cli.training.batches import Example, StepSampler, collate
from dialsum_cli.training.methods import keep_gradients, prepare
from dialsum_cli.training.steps import Steps
from dialsum_cli.training.trainers import train

RESULT = Path(__file__).resolve().parent / "results" / "training.json"
EPOCH = 12_457 * 540  # tokens
LONGEST = 1024
PAD = 1  # the tokenizer's id of it
WARM_UP = 2  # optimizer steps that are not counted
WAYS = {"seed": 1 / 4, "ours": 1.0, "trl": 1 / 2}  # what each takes of a method's steps, to last about as long
METHODS: dict[str, tuple[int, dict[str, Any]]] = {  # optimizer steps of the 3B shape, and options of `dialsum finetune`
    "bf16": (32, {}),
    "nf4": (20, {"precision": "nf4"}),
    "nf4-checkpointing": (12, {"precision": "nf4", "gradient_checkpointing": "on"}),
}
SHOWN = {
    "tokens_per_second": "{:,.0f} tokens/s", "minutes_an_epoch": "{:.2f} minutes an epoch",
    "times_the_floor": "{:.2f} x floor", "peak_gib": "peak {:.1f} GiB", "gradient_checkpointing": "checkpointing {}",
    "times_seed": "{:.2f} x seed", "times_trl": "{:.2f} x TRL", "times_one": "{:.2f} x one process", "error": "{}",
    "skipped": "{}",
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A model, how it is trained, and what on.

    Attributes:
        examples: the rows of all optimizer steps, `recipe.batch_size` of each.
        folder: for checkpoints, the first process's.
        beside: what was measured of ours by the same method, so that TRL does it at the same settings.
    """

    shape: str
    settings: FinetuneSettings
    recipe: Recipe
    examples: Sequence[Example]
    folder: Path
    cap_gib: float
    beside: Mapping[str, Any]

    @property
    def precision(self) -> str:
        """Of the weights."""
        return half() if self.settings.precision == "auto" else self.settings.precision

    def model(self) -> PreTrainedModel:
        """It with random weights; from here on the memory is capped."""
        model = make(self.shape, self.precision, **smaller(self.shape))
        release_memory()
        cap(self.cap_gib)
        return model


def smaller(shape: str) -> dict[str, int]:
    """A vocabulary for a CPU, which the seed's recipe would keep busy with 128,256 logits at 4,096 positions."""
    return {"vocab_size": 2048} if shape == "tiny" else {}


def parameters(shape: str) -> int:
    """Of the whole model, embeddings included."""
    values = SHAPES[shape] | smaller(shape)
    return skeleton(AutoConfig.for_model(values.pop("model_type"), **values)).num_parameters()


class Clock(Reporter, transformers.TrainerCallback):
    """Marks the start of a training and the end of each optimizer step, without waiting for the GPU."""

    def __init__(self) -> None:
        self.marks: list[Any] = []

    def mark(self, *_: Any, **__: Any) -> None:
        """Once before the first step, which starts the peak of the memory afresh, and after each."""
        if DEVICE == "cpu":
            self.marks.append(perf_counter())
            return
        if not self.marks:
            torch.cuda.reset_peak_memory_stats()
        self.marks.append(torch.cuda.Event(enable_timing=True))
        self.marks[-1].record()

    def measured(self) -> dict[str, Any]:
        """Seconds of each step, and the peak of the memory."""
        synchronize()
        pairs = [*zip(self.marks, self.marks[1:], strict=False)]
        if DEVICE == "cpu":
            return {"seconds": [end - start for start, end in pairs]}
        return {
            "seconds": [start.elapsed_time(end) / 1000 for start, end in pairs],
            "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
            "reserved_gib": torch.cuda.max_memory_reserved() / 2**30,
        }

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """`dialsum_cli.training` tells of its start and its steps, as the trainers of transformers do."""
        yield self

    def warn(self, message: str) -> None:
        """Show it."""
        print(f"  {message}", flush=True)

    advance = on_train_begin = on_step_end = mark


def synthetic(rows: int) -> list[Example]:
    """Random ids: 160 to 1,024 tokens, 540 in the mean, of which the answer is 12 %."""
    draw, examples = random.Random(0), []
    for number in range(rows):
        width = int(min(LONGEST, max(160, draw.lognormvariate(log(500), 0.4))))
        answer = min(width // 3, int(draw.lognormvariate(log(60), 0.4)))
        ids = [draw.randrange(2, 2048) for _ in range(width)]
        examples.append(Example(str(number), ids[:-answer], ids[-answer:]))
    return examples


def tokenizer() -> PreTrainedTokenizerFast:
    """One that only knows how to end and to pad: all rows are ids."""
    words = Tokenizer(WordLevel({"</s>": 0, "<pad>": PAD}, unk_token="</s>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="<pad>")


def way_ours(job: Job) -> dict[str, Any]:
    """What `dialsum finetune` does with a loaded model, from the fused kernels to the last checkpoint."""
    model, clock = job.model(), Clock()
    fuse(model)
    keep_gradients(model)
    loaded = LoadedModel(
        spec=ModelSpec(job.shape, job.shape, "causal"), model=model, tokenizer=tokenizer(), parameters=0,
        layers=None, revision=None, precision=job.precision, deviation="", identity="", folder=job.folder,
    )  # fmt: skip
    loaded, _ = prepare(loaded, job.recipe, [], job.settings.seed)
    steps = Steps(loaded, job.recipe, job.settings.micro_batch_tokens, clock.warn)
    plan = planning.measure(loaded, job.examples, job.recipe, job.settings, steps, job.folder, 0)
    trained = train(
        loaded, job.examples, job.recipe, job.settings, steps, job.folder, lambda: {"final_score": 0.0},
        lambda history: None, clock,
    )  # fmt: skip
    sampler = StepSampler([example.width for example in job.examples], job.recipe.batch_size, job.settings.seed)
    return clock.measured() | {
        "tokens": [sum(job.examples[row].width for row in rows) for rows in sampler],
        "gradient_checkpointing": plan.gradient_checkpointing,
        "micro_batch_tokens": trained.micro_batch_tokens,
        "foretold_minutes": plan.minutes_an_epoch * EPOCH / sum(row.width for row in job.examples),
        "foretold_gib": plan.memory_bytes and plan.memory_bytes / 2**30,
    }


def equal(job: Job, rows: int, checkpointing: bool) -> dict[str, Any]:
    """What trainers of transformers are told so as to do what `dialsum finetune` does, `rows` at once."""
    recipe = job.recipe
    return {
        "output_dir": str(job.folder), "max_steps": len(job.examples) // recipe.batch_size,
        "per_device_train_batch_size": rows, "gradient_accumulation_steps": recipe.batch_size // rows,
        "learning_rate": recipe.learning_rate, "lr_scheduler_type": recipe.scheduler,
        "warmup_steps": recipe.warmup_ratio, "max_grad_norm": recipe.max_grad_norm,
        "optim": "adamw_torch_fused" if DEVICE == "cuda" else "adamw_torch",
        "gradient_checkpointing": checkpointing, "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "bf16": DEVICE == "cuda", "seed": job.settings.seed, "save_strategy": "no", "report_to": "none",
        "disable_tqdm": True,
    }  # fmt: skip


def adapter(recipe: Recipe) -> LoraConfig:
    """The adapter of `dialsum finetune`: on the seven linear layers of each block."""
    return LoraConfig(
        task_type="CAUSAL_LM", r=recipe.lora_r, lora_alpha=recipe.lora_alpha, lora_dropout=recipe.lora_dropout,
        target_modules="all-linear",
    )  # fmt: skip


def run(trainer: Trainer, checkpointing: bool) -> dict[str, Any]:
    """Train, with the seconds and the tokens of each step, padding aside."""
    clock, collated, tokens = Clock(), trainer.data_collator, list[int]()

    def counted(rows: list[Any]) -> Any:
        batch: Any = collated(rows)
        tokens.append(int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel())
        return batch

    trainer.data_collator = counted
    trainer.add_callback(clock)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    parts = trainer.args.gradient_accumulation_steps
    return clock.measured() | {
        "tokens": [sum(tokens[at : at + parts]) for at in range(0, trainer.args.max_steps * parts, parts)],
        "gradient_checkpointing": checkpointing,
        "micro_batch_rows": trainer.args.per_device_train_batch_size,
    }


def way_seed(job: Job) -> dict[str, Any]:
    """The seed's recipe: NF4, four rows padded to 1,024 tokens, logits of all positions, checkpointing."""
    model: Any = prepare_model_for_kbit_training(job.model(), gradient_checkpointing_kwargs={"use_reentrant": False})
    longest = Example("", [PAD] * LONGEST, [])
    optimizer = "paged_adamw_32bit" if DEVICE == "cuda" else "adamw_torch"

    def padded(rows: list[Example]) -> dict[str, torch.Tensor]:
        batch = {name: ids[:-1] for name, ids in collate([*rows, longest], PAD, seq2seq=False).items()}
        mask = torch.arange(LONGEST) < torch.tensor([[row.width] for row in rows])
        return {**batch, "attention_mask": mask.long()}

    trainer = Trainer(
        model=get_peft_model(model, adapter(job.recipe)),
        args=transformers.TrainingArguments(**equal(job, 4, True) | {"optim": optimizer}, remove_unused_columns=False),
        train_dataset=job.examples,
        data_collator=padded,
    )
    return run(trainer, True) | {"optimizer": optimizer}


def way_trl(job: Job) -> dict[str, Any]:
    """`SFTTrainer` as its documentation has it for prompts with completions, otherwise as ours beside it.

    Checkpointing is as ours decided, and as many rows of the longest kind are computed at once as fit into our
    micro-batches, halved until memory suffices. The documentation asks for no padding where there is Flash Attention,
    and advises against it elsewhere: there rows are grouped by length.
    """
    if not find_spec("trl"):
        return {"skipped": "pip install trl==1.16"}
    checkpointing = job.beside.get("gradient_checkpointing", job.settings.gradient_checkpointing == "on")
    tokens = job.beside.get("micro_batch_tokens", job.settings.micro_batch_tokens)
    rows = max(1, min(job.recipe.batch_size, tokens // LONGEST))
    rows = 2 ** (rows.bit_length() - 1)  # a divisor of an optimizer step's
    while "error" in (measured := attempt(partial(sft, job, rows, checkpointing))) and rows > 1:
        rows //= 2
    return measured


def sft(job: Job, rows: int, checkpointing: bool) -> dict[str, Any]:
    """TRL with so many rows at once."""
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    tokenised = [
        {"input_ids": [*row.prompt_ids, *row.answer_ids],
         "completion_mask": [0] * len(row.prompt_ids) + [1] * len(row.answer_ids)}
        for row in job.examples
    ]  # fmt: skip
    flash = DEVICE == "cuda" and find_spec("flash_attn") is not None
    liger = DEVICE == "cuda" and find_spec("liger_kernel") is not None
    arguments = SFTConfig(
        **equal(job, rows, checkpointing),
        completion_only_loss=True,
        padding_free=flash,
        max_length=None if flash else LONGEST,
        train_sampling_strategy="random" if flash else "group_by_length",
        use_liger_kernel=liger,
    )
    model = job.model()
    if flash:
        model.set_attn_implementation("flash_attention_2")
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(tokenised), processing_class=tokenizer(),
        peft_config=adapter(job.recipe),
    )  # fmt: skip
    return run(trainer, checkpointing) | {"padding_free": flash, "liger": liger}


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What it measured, or that memory ran out; either way memory is free again."""
    try:
        measured = work()
    except (RuntimeError, MemoryError, DialsumError) as error:
        if not (isinstance(error, DialsumError) or out_of_memory(error)):
            raise
        measured = {"error": str(error) if isinstance(error, DialsumError) else "out of memory"}
        processes.failed(measured["error"])
    except processes.ElsewhereError as error:
        measured = {"error": str(error)}
    release_memory()
    cap(0)
    AcceleratorState._reset_state()  # which otherwise holds all trainers to the first one's number format
    return measured


def judged(measured: dict[str, Any], shape: str, flops: float) -> dict[str, Any]:
    """Speed instead of steps, and how far it is from the floor.

    The floor is 4 operations a parameter and token, as the frozen weights need no gradient, and 6 with checkpointing,
    at the measured rate of a matrix product on each GPU.
    """
    if "seconds" not in measured:
        return measured
    seconds, tokens = (measured.pop(name)[WARM_UP:] for name in ("seconds", "tokens"))
    rate = sum(tokens) / sum(seconds)
    operations = (6 if measured["gradient_checkpointing"] else 4) * parameters(shape)
    floor = EPOCH * operations / (flops * processes.count())
    return {
        "tokens_per_second": rate,
        "minutes_an_epoch": EPOCH / rate / 60,
        "floor_minutes": floor / 60,
        "times_the_floor": EPOCH / rate / floor,
        "steps": len(seconds),
        "seconds": sum(seconds),
        "median_seconds": statistics.median(seconds),
        **measured,
    }


def compare(rows: dict[str, dict[str, Any]]) -> None:
    """How many times as fast ours are as the seed's recipe, as TRL, and several processes as one."""
    for key, row in rows.items():
        method, _, way = key.partition(" ")
        others = {"seed": "seed", "trl": f"{method} trl"} | ({"one": f"{method} ours"} if way != "ours" else {})
        for name, other in others.items() if way.startswith("ours") and "tokens_per_second" in row else ():
            if there := rows.get(other, {}).get("tokens_per_second"):
                row[f"times_{name}"] = row["tokens_per_second"] / there


def show(name: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print measurements, a line each."""
    for key, row in rows.items() if processes.is_first() else ():
        facts = ", ".join(form.format(row[each]) for each, form in SHOWN.items() if each in row)
        print(f"{name}, {key}: {facts}", flush=True)


def measure(
    shape: str, method: str, way: str, flops: float, beside: Mapping[str, Any], arguments: argparse.Namespace
) -> dict[str, Any]:
    """One measurement, and what it rests on."""
    number, options = METHODS[method]
    settings = FinetuneSettings(models=["tiny-llama"], max_new_tokens=64, **options)
    recipe = replace(
        QLORA, method="qlora" if settings.precision == "nf4" else "lora", num_epochs=1,
        batch_size=arguments.rows, lora_dropout=arguments.lora_dropout,
    )  # fmt: skip
    steps = arguments.steps or max(2, round(number * WAYS[way] * min(1, 3.2e9 / parameters(shape))))
    examples = synthetic((steps + WARM_UP) * recipe.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(shape, settings, recipe, examples, Path(processes.told(folder)), arguments.cap_gib, beside)
        measured = attempt(partial(globals()[f"way_{way}"], job))
        processes.wait()  # for those that still read in the first one's folder
    packages = ("torch", "transformers", "peft", "bitsandbytes", "trl", "liger_kernel")
    rests = {"lora_dropout": recipe.lora_dropout, "optimizer": recipe.optimizer, "matmul_flops": flops}
    return rests | judged(measured, shape, flops) | machine(*(name for name in packages if find_spec(name)))


def main() -> None:
    """Measure what the arguments ask for, print a line for each, and file the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="llama3b,llama8b", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--ways", default=",".join(WAYS), help="ours before TRL, which takes its settings")
    parser.add_argument("--cap-gib", type=float, default=0.0, help="GPU memory that training may take; 0: all")
    parser.add_argument("--steps", type=int, help="optimizer steps that are counted; default: about 20 s of an H200")
    parser.add_argument("--rows", type=int, default=32, help="of an optimizer step, in all processes together")
    parser.add_argument("--lora-dropout", type=float, default=QLORA.lora_dropout)
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if arguments.rows & (arguments.rows - 1) or arguments.rows < 4:
        parser.error("--rows is a power of two from 4 on, so that all ways can cut a step alike")
    if processes.count() > 1 and arguments.ways != "ours":
        parser.error("a launch measures --ways ours")
    quiet()
    warnings.simplefilter("ignore", FutureWarning)  # of what these libraries think of each other
    processes.wait()  # which also gives each process its GPU
    flops, on = ceilings()["matmul_flops"], f" on {processes.count()}" if processes.count() > 1 else ""
    methods, ways = arguments.methods.split(","), arguments.ways.split(",")
    jobs = [("seed", "nf4-checkpointing", "seed")] if "seed" in ways else []  # it is a method of its own
    jobs += [(f"{method} {way}{on}", method, way) for method in methods for way in ways if way != "seed"]
    for shape in arguments.shapes.split(","):
        name = shape + (f" under {arguments.cap_gib:g} GiB" if arguments.cap_gib else "")
        name += f", {arguments.rows} rows a step" if arguments.rows != 32 else ""
        name += f", dropout {arguments.lora_dropout:g}" if arguments.lora_dropout != QLORA.lora_dropout else ""
        for key, method, way in jobs:
            with filed(arguments.output, RESULT) as results:
                rows = results.setdefault(name, {})
                rows[key] = measure(shape, method, way, flops, rows.get(f"{method} ours", {}), arguments)
                compare(rows)
            show(name, {key: rows[key]})
        show(f"in all, {name}", rows)
    processes.leave()


if __name__ == "__main__":
    main()
