"""How fast and how lean scoring is, beside `rouge` 1.0.1 with `MeCab().morphs()`: benchmarks/rouge.py --help."""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from machine import machine
from mecab import MeCab

from dialsum_cli.metrics.morphemes import tokenizer
from dialsum_cli.metrics.rouge import PreparedText, Rouge, pairwise, referee
from dialsum_cli.metrics.scoring import score
from dialsum_cli.settings import ScoreSettings
from dialsum_cli.workflows.score import score as score_files

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "dialsum_cli" / "data" / "bundled" / "dev.csv"
RESULT = ROOT / "benchmarks" / "results" / "rouge.json"
T = TypeVar("T")
PAIRS, EPOCH, CANDIDATES, SLICE = 499, 12_457, 16, 16


def read(path: Path) -> dict[str, str]:
    """The summaries of a CSV file by `fname`; of several, the first."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {row["fname"]: row.get("summary") or row["summary1"] for row in csv.DictReader(file)}


def vary(text: str, rng: random.Random) -> str:
    """The text with about one eojeol in eight dropped, written twice or moved."""
    words = []
    for word in text.split():
        match rng.randrange(24):
            case 0:
                continue
            case 1:
                words += [word, word]
            case 2:
                words.insert(rng.randrange(len(words) + 1), word)
            case _:
                words.append(word)
    return " ".join(words) or text


def varied(texts: list[str], number: int, seed: int) -> Iterator[str]:
    """That many texts: the given ones first, then variations of them, round and round."""
    rng = random.Random(seed)
    for index in range(number):
        text = texts[index % len(texts)]
        yield text if index < len(texts) else vary(text, rng)


def seconds(function: Callable[[], T]) -> tuple[float, T]:
    """The CPU time of this process, and the result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def speed(hypotheses: list[str], references: list[str], repeats: int) -> dict[str, float]:
    """Seconds for scoring all pairs from raw text: the package, dialsum, and cutting into morphemes alone."""
    mecab, judge = MeCab(), referee()

    def package() -> list[Rouge]:
        pairs = ([" ".join(mecab.morphs(text)) for text in pair] for pair in zip(hypotheses, references, strict=True))
        return [judge(hypothesis, reference) or Rouge(0, 0, 0) for hypothesis, reference in pairs]

    join = tokenizer().join
    rounds = []
    for _ in range(repeats):  # turn by turn: what slows the machine for a while slows each of them once
        package_seconds, expected = seconds(package)
        own_seconds, scored = seconds(lambda: score(hypotheses, ([text] for text in references)))
        join_seconds, _texts = seconds(lambda: [join(text) for text in (*hypotheses, *references)])
        rounds.append((package_seconds, own_seconds, join_seconds))
    package_seconds, own_seconds, join_seconds = map(min, zip(*rounds, strict=True))
    assert list(scored.items.final_score) == [100 * scores.mean for scores in expected], "not what the package says"
    return {"package": package_seconds, "dialsum": own_seconds, "tokenisation": join_seconds}


def ensemble_speed(texts: list[str]) -> dict[str, float]:
    """Seconds for 16 x 16 scores of each text's candidates; the package's are measured on a slice and extrapolated."""
    rng = random.Random(42)
    groups = [[vary(text, rng) for _ in range(CANDIDATES)] for text in texts]
    mecab, judge, join = MeCab(), referee(), tokenizer().join

    def package() -> list[list[list[Rouge]]]:
        joined = ([" ".join(mecab.morphs(text)) for text in group] for group in groups[:SLICE])
        return [[[judge(one, other) or Rouge(0, 0, 0) for other in group] for one in group] for group in joined]

    package_seconds, expected = seconds(package)
    own_seconds, scored = seconds(lambda: [pairwise([PreparedText(join(text)) for text in group]) for group in groups])
    join_seconds, _ = seconds(lambda: [join(text) for group in groups for text in group])
    assert scored[:SLICE] == expected, "not what the package says"
    return {
        "package": package_seconds * len(groups) / len(groups[:SLICE]),
        "dialsum": own_seconds,
        "tokenisation": join_seconds,
    }


def memory(hypotheses: list[str], references: list[str], rows: int, *, command: bool = False) -> dict[str, float]:
    """Peak bytes a row that scoring two CSV files adds to a process that has scored once, beyond the files' size."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "predictions.csv", Path(folder) / "gold.csv"]
        for seed, (path, texts) in enumerate(zip(paths, (hypotheses, references), strict=True)):
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["fname", "summary"])
                writer.writerows((f"row_{i}", text) for i, text in enumerate(varied(texts, rows, seed)))
        files = sum(path.stat().st_size for path in paths)
        done = subprocess.run(
            [sys.executable, __file__, *(["--command"] if command else []), "--measure-memory", *map(str, paths)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    peak = int(done.stdout)
    return {"rows": rows, "peak": peak, "files": files, "bytes_a_row_beyond_files": (peak - files) / rows}


def measure_memory(predictions: Path, gold: Path, *, command: bool) -> int:
    """Peak bytes of resident memory that reading and scoring two files adds; Linux only.

    By `score`, which reads both row by row, or as the command does it, which joins them by id and diagnoses them.
    """

    def summaries(path: Path) -> Iterator[str]:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield row["summary"]

    def status(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

    # Once before, so that the dictionary's pages and numpy are in memory: they cost the same for any number of rows.
    score(islice(summaries(predictions), PAIRS), ([text] for text in islice(summaries(gold), PAIRS))).ci95  # noqa: B018
    before = status("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    if command:
        score_files(ScoreSettings(files=[predictions, gold]))
    else:
        score(summaries(predictions), ([text] for text in summaries(gold)))
    return status("VmHWM:") - before


def main() -> int:
    """Measure, print, and say which bars are missed."""
    # Run as a script, this very file would be what `import rouge` finds.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gold", type=Path, default=BUNDLED, help="CSV: fname,summary (default: bundled dev)")
    parser.add_argument("--data", type=Path, help="predictions, fname,summary (default: the gold's summaries, varied)")
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[10_000, 1_000_000], help="none: skip that part")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    parser.add_argument("--measure-memory", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--command", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_memory:
        print(measure_memory(*arguments.measure_memory, command=arguments.command))
        return 0

    gold = read(arguments.gold)
    references = list(gold.values())
    if arguments.data:
        predictions = read(arguments.data)
        hypotheses = [predictions[fname] for fname in gold]
    else:
        rng = random.Random(42)
        hypotheses = [vary(text, rng) for text in references]

    missed = 0

    def report(what: str, value: float, bar: float, *, least: bool) -> None:
        nonlocal missed
        met = value >= bar if least else value <= bar
        missed += not met
        print(f"  {what:<44}{value:>8.2f}  ({'at least' if least else 'at most'} {bar:g}{'' if met else ': MISSED'})")

    facts = machine("rouge", "python-mecab-ko", "python-mecab-ko-dic", "numpy")
    results: dict[str, object] = {
        "machine": facts,
        "data": f"{len(gold)} rows",
    }
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    print("seconds of CPU time in one process, from raw text; the results were compared and are equal")
    for rows, repeats, bar in ((PAIRS, 5, 4), (EPOCH, 3, 6)):
        pairs = list(varied(hypotheses, rows, 0)), list(varied(references, rows, 1))
        results[f"{rows} pairs"] = times = speed(*pairs, repeats)
        print(f"{rows:,} pairs: " + ", ".join(f"{key} {value:.3f} s" for key, value in times.items()))
        report("times faster than the package", times["package"] / times["dialsum"], bar, least=True)
        report("times tokenisation alone", times["dialsum"] / times["tokenisation"], 1.6, least=False)
    results[f"{CANDIDATES} x {CANDIDATES}"] = times = ensemble_speed(list(varied(references, PAIRS, 2)))
    print(
        f"{CANDIDATES} x {CANDIDATES} candidates of {PAIRS} dialogues (package: extrapolated from {SLICE} dialogues): "
        + ", ".join(f"{key} {value:.3f} s" for key, value in times.items())
    )
    report("times faster than the package", times["package"] / times["dialsum"], 35, least=True)
    for rows in arguments.memory_rows:
        results[f"memory of {rows} pairs"] = used = memory(hypotheses, references, rows)
        print(f"{rows:,} pairs: peak {used['peak'] / 2**20:.1f} MiB, files {used['files'] / 2**20:.1f} MiB")
        report("bytes a row beyond the files' size", used["bytes_a_row_beyond_files"], 200, least=False)
    if arguments.memory_rows:
        rows = min(arguments.memory_rows)
        results[f"memory of `dialsum score`, {rows} rows"] = used = memory(hypotheses, references, rows, command=True)
        beyond = used["bytes_a_row_beyond_files"]
        print(f"`dialsum score`, which joins by id, {rows:,} rows: {beyond:.0f} bytes a row beyond the files' size")
    if arguments.save:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
