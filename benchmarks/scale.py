"""How much faster several processes predict than one, and whether they write the same: scale.py --help."""

import argparse
import csv
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import shapes
import torch
from shapes import DEVICE, SHAPES
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from dialsum_cli.data.dialogues import Dialogue, read_dialogues
from dialsum_cli.data.submissions import read_submission
from dialsum_cli.engines.huggingface import release_memory
from dialsum_cli.prompts import load_prompt
from dialsum_cli.prompts.chat import ChatPrompt
from dialsum_cli.settings import BUNDLED

RESULT = Path(__file__).resolve().parent / "results" / "scale.json"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>"
    "\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHECKED = 64  # rows that differ
ACCEPTED = 2.0  # ulps of bf16, as `generation.py --ways check` counts them


def make(shape: str, folder: Path) -> None:
    """Save a model of a shape with random weights, and a tokenizer whose every character is a token.

    So a text tells the ids that it was written with. The head is not tied: such a one repeats what it was given.
    """
    specials = ["<s>", "<pad>", "<unk>", "<|im_start|>", "<|im_end|>"]
    letters = [*map(chr, range(32, 127)), "\n", *map(chr, range(ord("가"), ord("힣") + 1)), *"…·“”‘’"]
    vocabulary = {token: number for number, token in enumerate([*specials, *letters])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="<|im_end|>", pad_token="<pad>", unk_token="<unk>",
        additional_special_tokens=["<|im_start|>"], chat_template=TEMPLATE,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    shapes.make(shape, tie_word_embeddings=False, **ids).save_pretrained(folder)


def write_dialogues(path: Path, rows: int) -> list[Dialogue]:
    """The bundled training dialogues over and over, each with a turn of its own: none is summarised twice."""
    texts = itertools.cycle(each.text for each in read_dialogues(BUNDLED / "train.csv"))
    dialogues = [Dialogue(f"d_{n}", f"{next(texts)}\n#Person1#: 번호는 {n}번입니다.") for n in range(rows)]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("fname", "dialogue"), *((each.fname, each.text) for each in dialogues)])
    return dialogues


def predict(processes: int, work: Path, name: str, options: list[str]) -> tuple[float, dict[str, Any]]:
    """The seconds of one `dialsum predict` in so many processes, from its start to its end, and its result."""
    launcher = ["-m", "dialsum_cli"]
    if processes > 1:
        launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes),
                    "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
                    "--main_process_port", "0", *launcher]  # fmt: skip
    command = [sys.executable, *launcher, "predict", "--model", str(work / "model"), "--data", str(work / "data.csv"),
               "--output", str(work / f"{name}.csv"), "--output-dir", str(work / name), "--json", *options]  # fmt: skip
    start = perf_counter()
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return perf_counter() - start, json.loads(out)


def measure(processes: int, work: Path, rows: int, new_tokens: int) -> dict[str, Any]:
    """A run over all dialogues, and one over so few that it tells what the start alone takes."""
    options = ["--max-new-tokens", str(new_tokens)]
    few = [*options, "--limit", str(2 * processes)]
    predict(processes, work, f"first-{processes}", few)  # reads from the disk what the others then find in memory
    start, _ = predict(processes, work, f"start-{processes}", few)
    whole, result = predict(processes, work, f"all-{processes}", options)
    stores = [path.read_text("utf-8").splitlines() for path in (work / f"all-{processes}" / "summaries").iterdir()]
    kept = [line for lines in stores for line in map(json.loads, filter(None, lines)) if "summaries" in line]
    return {
        "start_seconds": start,
        "seconds": whole,
        "rows_per_second": rows / (whole - start),
        "busy_seconds": sum(line["seconds"] for line in kept),  # of the average process
        "peak_gib": max((line["peak_memory_gib"] or 0.0 for line in kept), default=0.0),
        "files_written_by": len(stores),
        "made": sum(len(line["summaries"]) for line in kept),
        "sha256": result["sha256"],
    }


@torch.inference_mode()
def compare(work: Path, names: tuple[str, str], dialogues: list[Dialogue]) -> dict[str, Any]:
    """How many rows two files differ in, and whether ties explain it: a look at where the rows part.

    The stock model in fp32 says how far apart the logits of the two next tokens are, in ulps of bf16: 2^-7 of the power
    of two below the greater one. What comes after the first difference answers another text.
    """
    first, second = (read_submission(work / f"{name}.csv") for name in names)
    assert [*first] == [*second] == [each.fname for each in dialogues], "rows are missing, or out of order"
    parted = [each for each in dialogues if first[each.fname] != second[each.fname]]
    found: dict[str, Any] = {"rows": len(dialogues), "different": len(parted)}
    if not parted:
        return found
    tokenizer: Any = AutoTokenizer.from_pretrained(work / "model")
    prompt = ChatPrompt(tokenizer, load_prompt("korean"))
    model: Any = AutoModelForCausalLM.from_pretrained(work / "model", dtype=torch.float32, device_map={"": DEVICE})
    model.set_attn_implementation("sdpa")
    gaps = []
    for each in parted[:CHECKED]:
        ours, theirs = (tokenizer.encode(texts[each.fname]) for texts in (first, second))
        place = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        place = min(len(ours), len(theirs)) if place is None else place
        ids = torch.tensor([[*prompt.encode(each.text, None).ids, *ours[:place]]], device=DEVICE)
        logits = model(input_ids=ids, logits_to_keep=1).logits[0, -1]
        next_ids = [answer[place] if place < len(answer) else tokenizer.eos_token_id for answer in (ours, theirs)]
        low, high = logits[next_ids].sort().values.tolist()
        gaps.append((high - low) / 2.0 ** (torch.tensor(abs(high)).log2().floor().item() - 7))
    beyond = sum(gap > ACCEPTED for gap in gaps)
    return found | {"checked": len(gaps), "worst_ulps": max(gaps), f"beyond_{ACCEPTED:g}_ulps": beyond}


def main() -> None:
    """Measure each number of processes, compare each one's file with the first one's, print and file the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="llama3b", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--processes", default="1,2", help="numbers of processes, the first one to be compared with")
    parser.add_argument("--dialogues", type=int, default=8192)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument(
        "--work", type=Path, help="disk for the model, 8 GB for llama3b; by default that of temporary files"
    )
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    numbers = [int(number) for number in arguments.processes.split(",")]
    label = f"{arguments.shape}, {arguments.dialogues} dialogues, {arguments.new_tokens} new tokens"
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder, shapes.filed(arguments.output, RESULT) as results:
        work = Path(folder)
        make(arguments.shape, work / "model")
        release_memory()
        dialogues = write_dialogues(work / "data.csv", arguments.dialogues)
        runs = results[label] = {"torch": torch.__version__}
        for number in numbers:
            measured = runs[f"{number} processes"] = measure(number, work, arguments.dialogues, arguments.new_tokens)
            if number != numbers[0]:
                base = runs[f"{numbers[0]} processes"]
                measured["faster"] = measured["rows_per_second"] / base["rows_per_second"]
                measured["compared"] = compare(work, (f"all-{numbers[0]}", f"all-{number}"), dialogues)
                release_memory()
            print(f"{label}, {number} processes: {json.dumps(measured)}", flush=True)


if __name__ == "__main__":
    main()
