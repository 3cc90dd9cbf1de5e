"""How fast prompts are answered, beside `model.generate` and what the hardware allows: generation.py --help."""

import argparse
import gc
import itertools
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import dialsum_cli  # noqa: F401 - before torch, which it tells how to hold memory

# isort: split
import torch
import transformers
from shapes import DEVICE, SHAPES, cap, ceilings, filed, make, timed
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.engines.huggingface import release_memory
from dialsum_cli.generation.batching import run_batches
from dialsum_cli.generation.decoding import Decoder
from dialsum_cli.generation.sampling import Sampling
from dialsum_cli.models.kernels import fuse
from dialsum_cli.models.loading import out_of_memory
from dialsum_cli.models.planning import batch_tokens, free_bytes, weight_bytes
from dialsum_cli.models.vocabulary import Vocabulary
from dialsum_cli.prompts import load_prompt
from dialsum_cli.prompts.chat import ChatPrompt
from dialsum_cli.settings import BUNDLED, GenerationSettings

RESULT = Path(__file__).resolve().parent / "results" / "generation.json"
WAYS = ("generate", "seed", "plain", "ours", "samples", "block", "check", "linear", "vllm")
GENERATE_ROWS = 256
SEED_ROWS, SEED_SLICE = 8, 16
CHECKED = 64


@dataclass(frozen=True)
class Job:
    """A model and what it has to answer.

    Attributes:
        dialogues: one for each prompt, as far as the vocabulary's tables ask for them; empty: there are none.
    """

    model: PreTrainedModel
    precision: str
    prompts: Sequence[Sequence[int]]
    dialogues: Sequence[str]
    new_tokens: int
    arguments: argparse.Namespace
    endings: "Endings | None" = None

    @property
    def never(self) -> int:
        """An id that is no token: an end that does not come, so that all ways write equally many tokens."""
        return int(self.model.config.vocab_size)

    @property
    def by_length(self) -> list[int]:
        """The prompts' places, the longest first."""
        return sorted(range(len(self.prompts)), key=lambda i: -len(self.prompts[i]))


@dataclass(frozen=True)
class Endings(Sampling):
    """Greedy decoding in which each answer ends after a number of tokens that is drawn for it, not by the model."""

    mean: float = 0.0
    spread: float = 0.0
    end: int = 0

    def lengths(self, keys: Sequence[str], most: int) -> list[int]:
        """How many tokens each answer has, its end included."""
        return [min(most, max(1, round(random.Random(key).gauss(self.mean, self.spread)))) for key in keys]

    def draws(self, keys: Sequence[str], length: int) -> Tensor:
        """1 from the last token on, 0 before: (keys, 1, length)."""
        lengths = torch.tensor(self.lengths(keys, length))
        return (torch.arange(1, length + 1) >= lengths[:, None])[:, None].float()

    def choose(self, logits: Tensor, draws: Tensor) -> Tensor:
        """The likeliest token, or the end where it is due."""
        return logits.argmax(-1).masked_fill(draws > 0, self.end)


def floor(job: Job, limits: dict[str, float]) -> dict[str, float]:
    """Seconds that the measured ceilings allow: products of the prompts, then weights and cache read once a step.

    The weights count as bf16 in every precision.
    """
    config, parameters = job.model.config, job.model.num_parameters()
    tokens = sum(map(len, job.prompts))
    lengths = [job.new_tokens] * len(job.prompts)
    if job.endings:
        lengths = job.endings.lengths([*map(str, range(len(job.prompts)))], job.new_tokens)
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 2
    prefill = 2 * parameters * tokens / limits["matmul_flops"]
    held = sum(length * len(prompt) + length * (length - 1) / 2 for prompt, length in zip(
        job.prompts, lengths, strict=True))  # fmt: skip
    read = 2 * parameters * max(lengths) + held * cache
    decode = read / limits["copy_bytes_per_second"]
    return {"seconds": prefill + decode, "prefill": prefill, "decode": decode}


def synthetic(rows: int) -> list[list[int]]:
    """Random ids, of lengths like those of long prompts: 480 tokens in the mean, 120 to 1,500."""
    draw = random.Random(0)
    lengths = [int(min(1500, max(120, draw.lognormvariate(math.log(430), 0.45)))) for _ in range(rows)]
    return [[draw.randrange(4000) for _ in range(length)] for length in lengths]


def real(arguments: argparse.Namespace, rows: int) -> tuple[list[Sequence[int]], list[str]]:
    """The prompts of real dialogues, as `dialsum screen` asks, over again until there are enough; and the dialogues."""
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    prompt = ChatPrompt(tokenizer, load_prompt("korean"))
    texts = [dialogue.text for dialogue in read_dialogues(arguments.data)]
    texts = list(itertools.islice(itertools.cycle(texts), rows))
    encoded = {text: prompt.encode(text, None).ids for text in dict.fromkeys(texts)}
    return [encoded[text] for text in texts], texts


def padded(prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Ids and mask, padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return {"input_ids": ids.to(DEVICE), "attention_mask": mask.to(DEVICE)}


@torch.inference_mode()
def generate(job: Job, rows: Sequence[int], batch: int, **options: Any) -> list[list[int]]:
    """What `model.generate` answers to some prompts, so many at a time."""
    config = GenerationConfig(
        max_new_tokens=job.new_tokens, pad_token_id=0, eos_token_id=None, do_sample=False, **options
    )
    run: Any = job.model.generate
    answers = []
    for start in range(0, len(rows), batch):
        inputs = padded([job.prompts[i] for i in rows[start : start + batch]])
        output = run(**inputs, generation_config=config)
        answers += output[:, inputs["input_ids"].shape[1] :].tolist()
    return answers


def ours(
    job: Job, sampling: Sampling | None = None, vocabulary: Vocabulary | None = None, new_tokens: int = 0
) -> list[list[list[int]]]:
    """What our decoder answers, in batches as the summarizer cuts them."""
    new = new_tokens or job.new_tokens
    sampling = sampling or job.endings
    decoder = Decoder(job.model, [job.endings.end if job.endings else job.never], new, vocabulary)
    samples = sampling.num_samples if sampling else 1
    lengths = [len(prompt) + new * samples for prompt in job.prompts]
    tokens = batch_tokens(job.model.config, job.precision, GenerationSettings(), free_bytes())
    answers: list[list[list[int]]] = [[] for _ in job.prompts]

    def run(batch: list[int]) -> None:
        extra = None if vocabulary is None else vocabulary.extra_masks([job.dialogues[i] for i in batch])
        done = decoder.decode([job.prompts[i] for i in batch], extra, sampling, [str(i) for i in batch])
        for i, answer in zip(batch, done, strict=True):
            answers[i] = answer

    def shrunk(budget: int) -> None:
        print(f"  memory ran out: {budget} tokens", flush=True)

    for _ in run_batches(lengths, tokens, run, shrunk, padded=False):
        pass
    return answers


def way_generate(job: Job) -> dict[str, Any]:
    """As a careful user calls it: sorted, greedy, the better of the two largest batches that fit, 256 rows at most."""
    measured: list[dict[str, Any]] = []
    batch = GENERATE_ROWS
    while len(measured) < 2 and batch:
        try:
            measured.append(timed(partial(generate, job, job.by_length, batch)) | {"rows": batch})
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        batch //= 2
    return min(measured, key=lambda each: each["seconds"]) | {"tried": measured}


def way_seed(job: Job) -> dict[str, Any]:
    """The seed's recipe on a slice of the prompts in their order: 8 rows, 4 beams, tokens with Latin letters bad."""
    size = job.model.config.vocab_size
    bad = [[token] for token in range(size - int(0.945 * size), size)]  # 121,200 of Llama's 128,256
    rows = range(min(SEED_SLICE, len(job.prompts)))
    measured = timed(lambda: generate(job, rows, SEED_ROWS, num_beams=4, bad_words_ids=bad))
    return measured | {"slice": len(rows), "seconds": measured["seconds"] * len(job.prompts) / len(rows)}


def way_plain(job: Job) -> dict[str, Any]:
    """Our decoder through the model as transformers has it, unless another way has changed it: `ours` and what follows.

    The first time with all that happens once, and again; the prefill alone; what remains is decoding.
    """
    first, again = timed(lambda: ours(job)), timed(lambda: ours(job))
    prefill = timed(lambda: ours(job, new_tokens=1))["seconds"]
    return first | {"again": again["seconds"], "prefill": prefill, "decode": again["seconds"] - prefill}


def way_ours(job: Job) -> dict[str, Any]:
    """What `dialsum` does: `plain` through the kernels that it gives a model on a GPU."""
    fuse(job.model)
    return way_plain(job)


def way_samples(job: Job) -> dict[str, Any]:
    """Eight samples of each prompt, and what they cost beyond a prefill, in decodings of one answer."""
    one = way_ours(job)
    sampling = Sampling(8, temperature=0.7, top_p=0.95)
    measured = timed(lambda: ours(job, sampling))
    return measured | {"single_decodes": (measured["seconds"] - one["prefill"]) / one["decode"]}


def way_block(job: Job) -> dict[str, Any]:
    """What the vocabulary's tables cost: the better of three runs with and without them, taken in turns."""
    if not job.dialogues:
        return {"skipped": "needs --tokenizer"}
    tokenizer = AutoTokenizer.from_pretrained(job.arguments.tokenizer)
    vocabulary = Vocabulary.build(tokenizer, [tokenizer.eos_token_id], job.model.config.vocab_size).to(DEVICE)
    fuse(job.model)
    ours(job, vocabulary=vocabulary)
    free, blocked = [], []
    for _ in range(3):
        free.append(timed(lambda: ours(job))["seconds"])
        blocked.append(timed(lambda: ours(job, vocabulary=vocabulary))["seconds"])
    return {"seconds": min(blocked), "free": min(free), "cost": min(blocked) / min(free) - 1}


def way_check(job: Job) -> dict[str, Any]:
    """Answers in bf16 through the stock model in fp32: how far each token's logit is from the best, in ulps of bf16.

    An ulp is 2^-7 of the power of two below the best logit. Those of `model.generate` stand beside ours.
    """
    if job.precision != "bf16":
        return {"skipped": "bf16 only"}
    job = replace(job, prompts=job.prompts[:CHECKED])
    theirs = generate(job, range(len(job.prompts)), GENERATE_ROWS)  # of the model as transformers has it
    fuse(job.model)
    emitted = {"ours": [answer for (answer,) in ours(job)], "generate": theirs}
    with torch.device(DEVICE):
        model = type(job.model)(job.model.config).float().eval()
    model.load_state_dict(job.model.state_dict())
    model.set_attn_implementation("sdpa")
    result: dict[str, Any] = {"prompts": len(job.prompts)}
    for name, answers in emitted.items():
        gaps = torch.cat([_gaps(model, prompt, answer) for prompt, answer in zip(job.prompts, answers, strict=True)])
        result[name] = {"worst_ulps": float(gaps.max()), "beyond_2_ulps": int((gaps > 2).sum()), "tokens": len(gaps),
                        "not_the_best": int((gaps > 0).sum())}  # fmt: skip
    del model
    same = sum(mine == theirs for mine, theirs in zip(*emitted.values(), strict=True))
    return result | {"equal_answers": same}


@torch.inference_mode()
def _gaps(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    call: Any = model
    ids = torch.tensor([[*prompt, *answer]], device=DEVICE)
    logits = call(input_ids=ids, logits_to_keep=len(answer) + 1).logits[0, :-1]
    best = logits.amax(1)
    ulp = 2.0 ** (best.abs().log2().floor() - 7)
    return ((best - logits.gather(1, torch.tensor(answer, device=DEVICE)[:, None])[:, 0]) / ulp).cpu()


def way_linear(job: Job) -> dict[str, Any]:
    """Whether time grows with the number of prompts, and memory does not: twenty times as many."""
    fuse(job.model)
    many = replace(job, prompts=[*job.prompts] * job.arguments.times, dialogues=[])
    ours(job)
    few, all_ = timed(lambda: ours(job)), timed(lambda: ours(many))
    return all_ | {"prompts": len(many.prompts), "few": few,
                   "growth": all_["seconds"] / (few["seconds"] * job.arguments.times)}  # fmt: skip


def way_vllm(job: Job) -> dict[str, Any]:
    """vLLM on a model of the same shape, its start apart."""
    if not find_spec("vllm"):
        return {"skipped": "vLLM is not installed"}
    from vllm import LLM, SamplingParams

    job.model.to("cpu")
    gc.collect()
    torch.cuda.empty_cache()
    with tempfile.TemporaryDirectory() as folder:
        job.model.config.save_pretrained(folder)
        start = perf_counter()
        engine = LLM(folder, load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16", max_model_len=2048)
        started = perf_counter() - start
    parameters = SamplingParams(temperature=0, max_tokens=job.new_tokens, ignore_eos=True, detokenize=False)
    asked = [{"prompt_token_ids": list(prompt)} for prompt in job.prompts]
    return {"start": started, "seconds": timed(lambda: engine.generate(asked, parameters))["seconds"]}


def label(arguments: argparse.Namespace, shape: str, precision: str) -> str:
    """What a result is filed under."""
    prompts = "real" if arguments.tokenizer else "synthetic"
    cap = f" under {arguments.cap_gib:g} GiB" if arguments.cap_gib else ""
    untied = " untied" if arguments.untied else ""
    new = f"{arguments.new_tokens} new tokens" + (f", answers of {arguments.answers}" if arguments.answers else "")
    return f"{shape}{untied} {precision}{cap}, {arguments.prompts} {prompts} prompts, {new}"


def measure(arguments: argparse.Namespace, shape: str, precision: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """One model's measurements, each as it is done."""
    limits = ceilings()
    yield "machine", limits | {"torch": torch.__version__, "transformers": transformers.__version__}
    if arguments.model:
        model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.bfloat16, device_map=DEVICE).eval()
    else:  # tied to its embeddings, a random head repeats what it was given
        model = make(shape, precision, **({"tie_word_embeddings": False} if arguments.untied else {}))
    model.generation_config = GenerationConfig(bos_token_id=0, pad_token_id=0)
    release_memory()
    cap(arguments.cap_gib)
    prompts: Sequence[Sequence[int]] = synthetic(arguments.prompts)
    dialogues: Sequence[str] = ()
    if arguments.tokenizer:
        prompts, dialogues = real(arguments, arguments.prompts)
    endings = None
    if arguments.answers:
        mean, spread = map(float, arguments.answers.split(","))
        endings = Endings(mean=mean, spread=spread, end=model.config.vocab_size - 1)
    job = Job(model, precision, prompts, dialogues, arguments.new_tokens, arguments, endings)
    lowest = floor(job, limits)
    yield "floor", lowest | {"prompt_tokens": sum(map(len, prompts)), "weights_gib": weight_bytes(
        model.config, precision) / 2**30}  # fmt: skip
    best = None
    for way in arguments.ways.split(","):
        measured = globals()[f"way_{way}"](job)
        if seconds := measured.get("seconds"):
            best = seconds if way == "generate" else best
            if way not in ("linear", "samples"):
                measured["times_the_floor"] = seconds / lowest["seconds"]
                measured |= {"faster_than_generate": best / seconds} if best and way != "generate" else {}
        yield way, measured


def main() -> None:
    """Measure what the arguments ask for, print a line for each, and file the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="llama3b,llama8b,qwen4b", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--precisions", default="bf16,nf4")
    parser.add_argument("--ways", default="generate,seed,plain,ours", help=f"in this order, of {', '.join(WAYS)}")
    parser.add_argument("--prompts", type=int, default=499)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--answers", help="mean,spread of the tokens after which ours ends each answer, as in 64,20")
    parser.add_argument("--times", type=int, default=20, help="how many times the prompts `linear` takes")
    parser.add_argument("--cap-gib", type=float, default=0.0, help="GPU memory that it may take; 0: all")
    parser.add_argument("--tokenizer", type=Path, help="folder of a real chat model's tokenizer: real dialogues")
    parser.add_argument("--data", default=str(BUNDLED / "dev.csv"), help="the dialogues for --tokenizer")
    parser.add_argument("--untied", action="store_true", help="a head of its own, for `check`")
    parser.add_argument("--model", type=Path, help="folder of a real model, instead of random weights in one shape")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if arguments.answers and not {*arguments.ways.split(",")} <= {"plain", "ours"}:
        parser.error("--answers ends what plain and ours write, and nothing else: add --ways plain,ours")
    transformers.utils.logging.set_verbosity_error()
    shapes = [arguments.model.name] if arguments.model else arguments.shapes.split(",")
    for shape, precision in itertools.product(shapes, arguments.precisions.split(",")):
        name = label(arguments, shape, precision)
        print(name, flush=True)
        with filed(arguments.output, RESULT) as results:
            for way, measured in measure(arguments, shape, precision):
                results.setdefault(name, {})[way] = measured
                shown = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                         for key, value in measured.items())  # fmt: skip
                print(f"  {way:9s} " + ", ".join(shown), flush=True)
        release_memory()
        cap(0)


if __name__ == "__main__":
    main()
