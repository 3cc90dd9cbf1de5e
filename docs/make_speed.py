"""Writes the tables of speed in README.md and docs/README.ko.md from benchmarks/results."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = {"en": ROOT / "README.md", "ko": ROOT / "docs" / "README.ko.md"}
MARKED = re.compile(r"(?<=<!-- speed -->\n).*?(?=<!-- /speed -->)", re.DOTALL)
LABEL = re.compile(r"(\w+) (\w+)(?: under ([\d.]+) GiB)?, (\d+) (?:real|synthetic) prompts, (\d+) new tokens")
SHAPES = {"llama3b": "Llama 3B", "llama8b": "Llama 8B", "qwen4b": "Qwen3 4B", "solar": "SOLAR 10.7B"}
PRECISIONS = {"bf16": "bf16", "nf4": "NF4"}
METHODS = {"bf16": "LoRA, bf16", "nf4": "QLoRA", "nf4-checkpointing": "QLoRA + gradient checkpointing"}
TEXTS = {
    "en": {
        "header": "| work | machine | `dialsum` | beside it |\n|---|---|---|---|",
        "seconds": "{} s", "minutes": "{} min", "gpus": "on {} GPUs {}", "cores": "{}, {} cores",
        "generation": "{prompts} answers of {new} tokens, {shape} in {precision}", "memory": ", {} GiB of memory",
        "generate": "`model.generate` {}", "seed": "batches of 8, 4 beams, forbidden tokens {} (judging by {} of them)",
        "vllm": "vLLM {}, after {} to start",
        "training": "an epoch of 12,457 dialogues, {shape}, {method}",
        "trl": "TRL's `SFTTrainer` {}", "padded": "NF4, 4 rows padded to 1,024 {}",
        "screening": "`dialsum screen`, 499 dialogues, {shape}",
        "scoring": "ROUGE of 12,457 summaries", "mbr": "the best of 16 candidates for each of 499 dialogues",
        "package": "package `rouge` {}",
    },
    "ko": {
        "header": "| 작업 | 장비 | `dialsum` | 비교 |\n|---|---|---|---|",
        "seconds": "{}초", "minutes": "{}분", "gpus": "GPU {}개로 {}", "cores": "{}, {}코어",
        "generation": "{new}토큰짜리 답 {prompts}개, {shape} {precision}", "memory": ", 메모리 {} GiB",
        "generate": "`model.generate` {}", "seed": "배치 8, 빔 4, 금지 토큰 {}({}개로 추정)",
        "vllm": "vLLM {}(시작하는 데 {} 더)",
        "training": "대화 12,457개 한 에폭 학습, {shape}, {method}",
        "trl": "TRL `SFTTrainer` {}", "padded": "NF4, 1,024토큰까지 채운 4행 배치 {}",
        "screening": "`dialsum screen`, 대화 499개, {shape}",
        "scoring": "요약 12,457개의 ROUGE", "mbr": "대화 499개마다 후보 16개 가운데 하나 고르기",
        "package": "`rouge` 패키지 {}",
    },
}  # fmt: skip

Row = tuple[str, str, str, list[str]]
"""What was done, on what machine, how long it took us, and others."""


def table(language: str, results: Path = RESULTS) -> str:
    """Rows of Markdown for what has been filed, each measurement once."""
    say = TEXTS[language]
    rows = [row for part in (generation, training, screening, scoring) for row in part(results, say)]
    cells = [f"| {work} | {machine} | {ours} | {'<br>'.join(others) or '–'} |" for work, machine, ours, others in rows]
    return "\n".join([say["header"], *cells]) + "\n"


def page(language: str) -> str:
    """A README with its table as it should be."""
    return MARKED.sub(lambda _: table(language), PAGES[language].read_text(encoding="utf-8"))


def generation(results: Path, say: dict[str, str]) -> Iterator[Row]:
    """What benchmarks/generation.py filed: the first run, with all that happens once."""
    for machine, label, ways in filed(results / "generation.json"):
        ours = ways.get("ours")
        theirs = [(way, ways[way]) for way in ("generate", "seed") if way in ways]
        others = [say[way].format(seconds(row["seconds"], say), row.get("slice")) for way, row in theirs]
        if "seconds" in (vllm := ways.get("vllm", {})):
            others.append(say["vllm"].format(*(seconds(vllm[key], say) for key in ("seconds", "start"))))
        if not (ours and others and (found := LABEL.fullmatch(label)) and found[1] in SHAPES):
            continue
        shape, precision, cap, prompts, new = found.groups()
        work = say["generation"].format(
            prompts=prompts, new=new, shape=SHAPES[shape], precision=PRECISIONS[precision]
        ) + (say["memory"].format(cap) if cap else "")
        yield work, machine, seconds(ours["seconds"], say), others


def training(results: Path, say: dict[str, str]) -> Iterator[Row]:
    """What benchmarks/training.py filed, without what ran out of memory."""
    for machine, label, ways in filed(results / "training.json"):
        shape, _, rest = label.partition(" under ")
        took = {way: minutes(row["minutes_an_epoch"], say) for way, row in ways.items() if "minutes_an_epoch" in row}
        for method, name in METHODS.items() if shape in SHAPES and "dropout" not in rest else ():
            if f"{method} ours" not in took:
                continue
            several = [way for way in took if way.startswith(f"{method} ours on ")]
            ours = [took[f"{method} ours"], *(say["gpus"].format(way.split()[-1], took[way]) for way in several)]
            others = [("trl", f"{method} trl"), ("padded", "seed")]
            work = say["training"].format(shape=SHAPES[shape], method=name)
            work += say["memory"].format(rest.removesuffix(" GiB")) if rest else ""
            yield work, machine, "<br>".join(ours), [say[key].format(took[way]) for key, way in others if way in took]


def screening(results: Path, say: dict[str, str]) -> Iterator[Row]:
    """What benchmarks/screening.py filed, with all of the GPU's memory."""
    path = results / "screening.json"
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": []}
    took: dict[str, list[str]] = {}
    for run in document["runs"]:
        if run["row"]["status"] == "ok" and not run["cap_gib"] and run["shape"] in SHAPES:
            measured = f"{PRECISIONS[run['precision']]} {seconds(run['row']['seconds'], say)}"
            took.setdefault(run["shape"], []).append(measured)
    for shape, measured in took.items():
        yield say["screening"].format(shape=SHAPES[shape]), document["device"], ", ".join(measured), []


def scoring(results: Path, say: dict[str, str]) -> Iterator[Row]:
    """What benchmarks/rouge.py and benchmarks/mbr.py filed."""
    for name, file, key in (("scoring", "rouge.json", "12457 pairs"), ("mbr", "mbr.json", "")):
        if not (results / file).exists():
            continue
        document = json.loads((results / file).read_text(encoding="utf-8"))
        measured, machine = document[key] if key else document, document["machine"]
        others = [say["package"].format(seconds(measured["package"], say))]
        where = say["cores"].format(machine["cpu"], machine["cores"])
        yield say[name], where, seconds(measured["dialsum"], say), others


def filed(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Machine, label and measurements, as `filed` of benchmarks/shapes.py keeps them."""
    for machine, labels in json.loads(path.read_text(encoding="utf-8")).items() if path.exists() else ():
        for label, ways in labels.items():
            yield machine, label, ways


def seconds(value: float, say: dict[str, str]) -> str:
    """Seconds, a tenth where that can be told."""
    return say["seconds"].format(short(value))


def minutes(value: float, say: dict[str, str]) -> str:
    """The same of minutes."""
    return say["minutes"].format(short(value))


def short(value: float) -> str:
    """Two or three digits that mean something."""
    return f"{value:.1f}" if value < 20 else f"{value:.0f}"


if __name__ == "__main__":
    for language, path in PAGES.items():
        path.write_text(page(language), encoding="utf-8")
