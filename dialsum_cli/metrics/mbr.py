"""The choice among several summaries of one dialogue by minimum Bayes risk: the one that the others agree with most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from statistics import median_low
from typing import NamedTuple

from dialsum_cli.metrics.rouge import PreparedText, Rouge, pairwise

TIE = 1e-9
"""Expected utilities that differ by less are equal: sums in another order differ in their last bits."""

_SAME = 2.0 * (1.0 / (2.0 + 1e-8))  # what each ROUGE says of two equal texts
_ZERO = Rouge(0.0, 0.0, 0.0)


class Weights(NamedTuple):
    """How much each ROUGE counts in a utility; equal weights make it `final_score` / 100."""

    r1: float = 1.0
    r2: float = 1.0
    rl: float = 1.0

    def utility(self, scores: Rouge) -> float:
        """The weighted mean of the three, 0 to 1."""
        weighted = self.r1 * scores.rouge1 + self.r2 * scores.rouge2 + self.rl * scores.rougeL
        return weighted / (self.r1 + self.r2 + self.rl)


FINAL_SCORE = Weights()


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of n candidates was chosen, and why.

    Attributes:
        index: of the candidate that was chosen, from 0.
        utilities: the expected utility of each, 0 to 1; of one that was left out as well.
        scores: n x n, `[i][j]` being candidate i as the hypothesis for candidate j as the reference.
        left_out: those that were neither chosen nor asked, because of their length.
        tied: whether another text had the same expected utility, so that the better system decided.
    """

    index: int
    utilities: list[float]
    scores: list[list[Rouge]]
    left_out: frozenset[int]
    tied: bool


def choose(
    candidates: Sequence[PreparedText],
    *,
    weights: Weights = FINAL_SCORE,
    shares: Sequence[float] | None = None,
    preference: Sequence[int] | None = None,
    max_length_ratio: float | None = None,
) -> Choice:
    """Choose the candidate with the highest expected utility, each candidate being a guess of the reference.

    Kumar & Byrne, "Minimum Bayes-Risk Decoding for Statistical Machine Translation" (2004). A candidate is the
    hypothesis and the others are its references: ROUGE-L isn't symmetric. It agrees fully with itself, whatever ROUGE-2
    says of a single word, so that with equal shares the mean over the others decides, and a larger share is more trust
    in that candidate and not only in those like it. One without a word agrees with nothing, as it scores 0.

    Args:
        candidates: one or more.
        weights: what utility is made of.
        shares: how much each candidate's vote counts, >= 0; None: equally much.
        preference: all indices, the better system first: it decides among equal utilities; None: as they stand.
        max_length_ratio: leave out what has more than this many times the morphemes of the (low) median of the
            candidates that have a word, or is as much shorter; None: nothing. What is left out has no vote.
    """
    scores = _agreement(candidates)
    order = range(len(candidates)) if preference is None else preference
    left_out = _outliers(candidates, max_length_ratio) if max_length_ratio else frozenset[int]()
    votes = [0.0 if i in left_out else (shares[i] if shares else 1.0) for i in range(len(candidates))]
    total = fsum(votes) or 1.0  # no vote at all: all utilities are 0, and the better system decides
    utilities = [
        fsum(
            vote * (_SAME * bool(pair.rouge1) if i == j else weights.utility(pair))
            for j, (vote, pair) in enumerate(zip(votes, row, strict=True))
        )
        / total
        for i, row in enumerate(scores)
    ]
    allowed = [i for i in order if i not in left_out]
    best = max(utilities[i] for i in allowed)
    equal = [i for i in allowed if utilities[i] >= best - TIE]
    texts = {tuple(map(tuple, candidates[i].sentences)) for i in equal}
    return Choice(equal[0], utilities, scores, left_out, len(texts) > 1)


def _agreement(candidates: Sequence[PreparedText]) -> list[list[Rouge]]:
    scores = pairwise(candidates)
    for i, candidate in enumerate(candidates):
        if candidate.empty:  # 0 by our rule, as in `metrics.scoring`: phantom words agree with phantom words
            scores[i] = [_ZERO] * len(candidates)
            for row in scores:
                row[i] = _ZERO
    return scores


def _outliers(candidates: Sequence[PreparedText], ratio: float) -> frozenset[int]:
    lengths = [0 if each.empty else sum(map(len, each.sentences)) for each in candidates]
    if not any(lengths):
        return frozenset()
    middle = median_low(filter(None, lengths))  # a candidate's own length: one at least stays
    return frozenset(i for i, length in enumerate(lengths) if not middle / ratio <= length <= middle * ratio)
