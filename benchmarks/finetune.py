"""Fine-tuning on this machine, beside what was foretold of it: finetune.py --help."""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import dialsum_cli  # noqa: F401 - before torch, which it tells how to hold memory

# isort: split
import torch
from screening import TOKENIZERS, make
from shapes import SHAPES, cap

from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import BUNDLED, FinetuneSettings
from dialsum_cli.workflows.finetune import finetune

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "finetune.json"


class Heard(Reporter):
    """Prints what a training tells, on standard error."""

    def note(self, message: str) -> None:
        """Print it."""
        print(message, file=sys.stderr, flush=True)

    warn = note


def child(options: dict[str, Any]) -> None:
    """One fine-tuning in a process of its own, under a memory cap if one is given; prints its result."""
    cap(options.pop("cap_gib"))
    (run,) = finetune(FinetuneSettings(**options), Heard()).runs
    print(run.model_dump_json())


def head(path: Path, rows: int, folder: Path) -> str:
    """A copy of the first rows of a CSV file."""
    copy = folder / f"{path.stem}-{rows}.csv"
    with path.open(encoding="utf-8-sig", newline="") as source, copy.open("w", encoding="utf-8", newline="") as target:
        reader = csv.reader(source)
        csv.writer(target).writerows(row for row, _ in zip(reader, range(rows + 1), strict=False))
    return str(copy)


def main() -> None:
    """Run what the arguments ask for, print a line for each run, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="llama8b", help=f"with random weights, of {', '.join(SHAPES)}; or none")
    parser.add_argument("--cap", type=float, default=22.0, help="GiB of device memory that these get; 0: all of it")
    parser.add_argument("--model", type=Path, help="a model's folder, trained on all rows")
    parser.add_argument("--options", type=json.loads, default={}, help="further options of --model's run, as JSON")
    parser.add_argument("--train", type=Path, default=BUNDLED / "train.csv")
    parser.add_argument("--dev", type=Path, default=BUNDLED / "dev.csv")
    parser.add_argument("--rows", type=int, default=640, help="training rows of a shape's run")
    parser.add_argument("--tokenizers", type=Path, default=TOKENIZERS)
    parser.add_argument("--scratch", type=Path, help="folder for weights, up to 25 GB")
    parser.add_argument("--keep", type=Path, help="folder for the runs of --model")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(json.loads(arguments.child))
        return
    runs = []

    def measure(name: str, options: dict[str, Any]) -> None:
        done = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps(options)], stdout=subprocess.PIPE, text=True, check=True
        )
        run = json.loads(done.stdout.splitlines()[-1])
        for paths in (run, run["plan"] or {}):
            paths.pop("model"), paths.pop("run_dir", None)
        runs.append({"shape": name, "cap_gib": options["cap_gib"], **run})
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps({"device": device, "torch": torch.__version__, "runs": runs}, indent=1))
        if run["status"] != "ok":
            print(f"{name}: {run['error']}", flush=True)
            return
        plan, peak = run["plan"], run["peak_memory_gib"]
        print(
            f"{name}: {plan['method']} {plan['precision']}, {run['tokens_per_second']:,.0f} tokens/s; "
            f"{run['train_seconds'] / 60:.2f} min (foretold {plan['minutes']:.2f}), peak {peak or 0:.2f} GiB "
            f"(foretold {(plan['memory_bytes'] or 0) / 2**30:.2f}); "
            f"{run['before']['final_score']:.2f} -> {run['after']['final_score']:.2f} {run['after']['ci95']}",
            flush=True,
        )

    for shape in filter(None, arguments.shapes.replace("none", "").split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
            folder = make(shape, arguments.tokenizers, Path(scratch) / shape)
            measure(shape, {
                "models": [str(folder)], "cap_gib": arguments.cap, "num_epochs": 1, "max_new_tokens": 64,
                "train": head(arguments.train, arguments.rows, Path(scratch)),
                "dev": head(arguments.dev, 32, Path(scratch)), "output_dir": f"{scratch}/runs",
            })  # fmt: skip
    if arguments.model:
        options = {"models": [str(arguments.model)], "train": str(arguments.train), "dev": str(arguments.dev)}
        with tempfile.TemporaryDirectory() as scratch:
            kept = str(arguments.keep or scratch)
            measure(arguments.model.name, {**options, "cap_gib": 0, "output_dir": kept, **arguments.options})


if __name__ == "__main__":
    main()
