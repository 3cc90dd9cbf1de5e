"""A system's scores computed again by the package `rouge` 1.0.1 itself, item by item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dialsum_cli.errors import DialsumError
from dialsum_cli.metrics.morphemes import Tokenizer
from dialsum_cli.metrics.rouge import PreparedText, Rouge, referee, rouge
from dialsum_cli.metrics.scoring import COMBINE, References, Score
from dialsum_cli.results import Verification


def verify(
    score: Score,
    hypotheses: Iterable[str],
    references: Iterable[Sequence[str]],
    *,
    refs: References = "mean",
    tokenizer: Tokenizer,
) -> Verification:
    """Compare a score with what the package says of the same texts; empty hypotheses are 0 by our rule and left out.

    The package raises on some pairs (more than about 1,000 morphemes without a period): they are counted, not compared.

    Raises:
        DialsumError: an item's scores aren't equal, bit for bit.
        MissingPartError: the package isn't installed, or another one overwrote it.
    """
    judge = referee()
    pairs = raised = 0
    for index, (hypothesis, texts) in enumerate(zip(hypotheses, references, strict=True)):
        joined = tokenizer.join(hypothesis)
        if PreparedText(joined).empty:
            continue
        scores = []
        for text in map(tokenizer.join, texts):
            expected = judge(joined, text)
            raised += expected is None
            pairs += 1
            scores.append(expected or rouge(PreparedText(joined), PreparedText(text)))
        combined = COMBINE[refs](scores)
        expected_item = Rouge(*(100 * value for value in combined))
        item = Rouge(*(values[index] for values in (score.items.rouge1, score.items.rouge2, score.items.rougeL)))
        if item != expected_item:
            raise DialsumError(
                f"item {index} (from 0): rouge 1.0.1 gives {tuple(expected_item)}, dialsum {tuple(item)}",
                "report both texts as a bug of dialsum",
            )
    return Verification(pairs=pairs, raised=raised)
