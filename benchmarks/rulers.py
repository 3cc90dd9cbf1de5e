"""The same predictions under the rulers that people use, the table of docs/metric.md: benchmarks/rulers.py --help."""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from dialsum_cli.data.dialogues import read_gold
from dialsum_cli.data.submissions import align, read_submission
from dialsum_cli.metrics.morphemes import Tokenizer, tokenizer
from dialsum_cli.metrics.scoring import score_all

GOLD = Path(__file__).resolve().parents[1] / "dialsum_cli" / "data" / "bundled" / "dev.csv"
References = list[tuple[str, ...]]


def by_rouge(cut: Callable[[str], list[str]]) -> Callable[[list[str], References], float]:
    """What the package `rouge` computes over the words of `cut`: the final score, 0 to 100."""
    made = Tokenizer("other", lambda text: " ".join(cut(text.decode())))
    return lambda summaries, references: score_all([summaries], references, tokenizer=made)[0].final_score


def by_rouge_score(cut: Callable[[str], list[str]] | None) -> Callable[[list[str], References], float]:
    """What Google's `rouge_score` computes over the words of `cut`, or over its own."""
    from rouge_score.rouge_scorer import RougeScorer

    class Cut:
        tokenize = staticmethod(cut)

    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(names, tokenizer=Cut() if cut else None)

    def mean(summaries: list[str], references: References) -> float:
        scores = [
            scorer.score(reference, summary)[name].fmeasure
            for summary, texts in zip(summaries, references, strict=True)
            for reference in texts
            for name in names
        ]
        return 100 * sum(scores) / len(scores)

    return mean


def mecab(text: str) -> list[str]:
    """The morphemes of dialsum's own tokenizer."""
    return tokenizer().join(text).split()


def konlpy(name: str) -> Callable[[str], list[str]]:
    """An analyser of KoNLPy; it needs Java."""
    return getattr(import_module("konlpy.tag"), name)().morphs


def kiwi() -> Callable[[str], list[str]]:
    """Kiwi's morphemes."""
    analyser = import_module("kiwipiepy").Kiwi()
    return lambda text: [token.form for token in analyser.tokenize(text)]


def japanese() -> Callable[[str], list[str]]:
    """`import MeCab` with the dictionary that most often comes with it, which is Japanese."""
    tagger = import_module("MeCab").Tagger("-Owakati")
    return lambda text: tagger.parse(text).split()


RULERS: list[tuple[str, str, Callable[[], Callable[[list[str], References], float]]]] = [
    ("`rouge` over Mecab morphemes (`dialsum score`)", "", lambda: by_rouge(mecab)),
    ("`rouge` over characters (`--tokenizer char`)", "", lambda: by_rouge(lambda text: list("".join(text.split())))),
    ("`rouge` over eojeols (`--tokenizer eojeol`), the package's own habit", "", lambda: by_rouge(str.split)),
    ("`rouge` over Kiwi morphemes", "kiwipiepy", lambda: by_rouge(kiwi())),
    ("`rouge` over Komoran morphemes", "konlpy", lambda: by_rouge(konlpy("Komoran"))),
    ("`rouge` over Okt morphemes", "konlpy", lambda: by_rouge(konlpy("Okt"))),
    ("`rouge` over Mecab with a Japanese dictionary", "mecab-python3", lambda: by_rouge(japanese())),
    ("`rouge_score` over Mecab morphemes", "rouge-score", lambda: by_rouge_score(mecab)),
    ("`rouge_score` with its own tokenizer, which drops Hangul", "rouge-score", lambda: by_rouge_score(None)),
]
"""What is measured, the distribution that it takes beside dialsum, and how to make it."""


def main() -> int:
    """Print the table; rulers that aren't installed are named."""
    # Run as a script, benchmarks/rouge.py would be what `import rouge` finds.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path, help="fname,summary; such as of: dialsum predict --data GOLD")
    parser.add_argument("--gold", type=Path, default=GOLD, help="gold file (default: the bundled dev split)")
    arguments = parser.parse_args()
    gold = read_gold(arguments.gold)
    summaries = align(arguments.predictions, read_submission(arguments.predictions), gold, arguments.gold)
    print("| ruler | version | final score |\n|---|---|---|")
    missing = []
    for name, distribution, make in RULERS:
        try:
            ruler = make()
        except ImportError:
            missing.append(distribution)
            continue
        shown = f"{distribution} {version(distribution)}" if distribution else ""
        print(f"| {name} | {shown} | {ruler(summaries, list(gold.values())):.1f} |")
    if missing:
        print(f"left out: pip install {' '.join(dict.fromkeys(missing))}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
