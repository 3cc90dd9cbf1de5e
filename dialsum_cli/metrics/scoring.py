"""The scores of a whole file: means over its items with their interval, the items, and the signature of the ruler."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import fsum
from typing import Literal

from dialsum_cli import __version__
from dialsum_cli.errors import DataError, RequestError
from dialsum_cli.metrics.morphemes import Tokenizer
from dialsum_cli.metrics.morphemes import tokenizer as tokenizer_named
from dialsum_cli.metrics.rouge import PreparedText, Rouge, rouge
from dialsum_cli.metrics.statistics import bootstrap_interval

References = Literal["mean", "best"]

CONSTANT_SENTENCE = "#Person1#은 #Person2#에게 이야기합니다."
"""The floor: what saying this about every dialogue scores (27.80 on korean-dialogsum's dev split)."""


@dataclass(frozen=True)
class ItemScores:
    """One number per item, 0 to 100, in the order of the items; 32 bytes an item."""

    rouge1: array[float] = field(default_factory=lambda: array("d"))
    rouge2: array[float] = field(default_factory=lambda: array("d"))
    rougeL: array[float] = field(default_factory=lambda: array("d"))  # noqa: N815
    final_score: array[float] = field(default_factory=lambda: array("d"))


@dataclass(frozen=True)
class Score:
    """How a system did on a file. All scores but `rouge_sum` (0 to 300) go from 0 to 100."""

    rouge1: float
    rouge2: float
    rougeL: float  # noqa: N815
    final_score: float
    """The mean of the three: what the contest's leaderboard shows."""
    ci95: tuple[float, float]
    """Low and high end of the final score's 95 % interval: a bootstrap over the items."""
    n: int
    empty_items: tuple[int, ...] = field(repr=False)
    """Where the hypothesis has no word (nothing, or only periods and blanks); such items count, with 0."""
    signature: str
    """What decides the numbers: only scores of equal signatures compare."""
    items: ItemScores = field(repr=False)

    @property
    def rouge_sum(self) -> float:
        """ROUGE-1 + ROUGE-2 + ROUGE-L, 0 to 300."""
        return self.rouge1 + self.rouge2 + self.rougeL

    @property
    def empty(self) -> int:
        """How many hypotheses have no word."""
        return len(self.empty_items)


class Scorer:
    """One gold for many systems: its references are cut into morphemes once and kept, about 10 KB each.

    Args:
        references: each item's references, as many for each item; iterated once.
        refs: what several references make of a score: the `mean` over them, or, for each of the three, the `best`.
        tokenizer: `mecab`, `char` or `eojeol`.
        allow_other_dictionary: let Mecab use another dictionary than the one that scores are compared by.
        seed: decides the interval's resamples.

    Raises:
        DataError: an item has no reference, fewer or more than the first, or one without a word; it says which.
        RequestError: there is no such tokenizer, or no such `refs`.
        MissingPartError: Mecab isn't installed as it has to be.
    """

    def __init__(
        self,
        references: Iterable[Sequence[str]],
        *,
        refs: References = "mean",
        tokenizer: str = "mecab",
        allow_other_dictionary: bool = False,
        seed: int = 42,
    ) -> None:
        self._ruler = _Ruler(refs, tokenizer_named(tokenizer, allow_other_dictionary=allow_other_dictionary), seed)
        self._references = list(self._ruler.prepare(references))
        if not self._references:
            raise DataError("there is nothing to score", "give at least one item with its reference")
        self.signature = self._ruler.signature(len(self._references[0]), len(self._references))

    def score(self, hypotheses: Iterable[str]) -> Score:
        """Score one system's hypotheses, in the order of the references.

        Raises:
            DataError: they are more or fewer than the items, or none.
        """
        return self._ruler.score(hypotheses, self._references)


def score(
    hypotheses: Iterable[str],
    references: Iterable[Sequence[str]],
    *,
    refs: References = "mean",
    tokenizer: str = "mecab",
    allow_other_dictionary: bool = False,
    seed: int = 42,
) -> Score:
    """Score one system, keeping nothing but 32 bytes an item: both may be iterators over millions of texts.

    Arguments and errors are those of `Scorer` and its `score`.
    """
    ruler = _Ruler(refs, tokenizer_named(tokenizer, allow_other_dictionary=allow_other_dictionary), seed)
    return ruler.score(hypotheses, ruler.prepare(references))


def _mean(scores: list[Rouge]) -> Rouge:
    if len(scores) == 1:
        return scores[0]
    return Rouge(*(fsum(values) / len(scores) for values in zip(*scores, strict=True)))


def _best(scores: list[Rouge]) -> Rouge:
    return Rouge(*map(max, zip(*scores, strict=True)))


_COMBINE: dict[str, Callable[[list[Rouge]], Rouge]] = {"mean": _mean, "best": _best}


class _Ruler:
    """What turns texts into numbers, and its signature."""

    def __init__(self, refs: str, tokenizer: Tokenizer, seed: int) -> None:
        if refs not in _COMBINE:
            raise RequestError(f"no way {refs!r} to combine several references", f"choose {' or '.join(_COMBINE)}")
        self.refs = refs
        self.tokenizer = tokenizer
        self.seed = seed

    def signature(self, references: int, items: int) -> str:
        return (
            f"ROUGE-ko|impl:rouge-1.0.1|ngram:set|rl:union-lcs|tok:{self.tokenizer.name}|dic:{self.tokenizer.dictionary}"
            f"|norm:nfc|refs:{self.refs}{references}|empty:0|n:{items}|v:{__version__}"
        )

    def prepare(self, references: Iterable[Sequence[str]]) -> Iterator[list[PreparedText]]:
        expected = None
        for index, texts in enumerate(references):
            if isinstance(texts, str):
                raise TypeError("an item's references are a sequence of texts, not one text")
            prepared = [PreparedText(self.tokenizer.join(text)) for text in texts]
            expected = expected or len(prepared)
            if not prepared or len(prepared) != expected:
                raise DataError(
                    f"item {index} (from 0) has {len(prepared)} references, not {expected or 'one or more'}",
                    "give each item equally many",
                )
            for number, reference in enumerate(prepared):
                if reference.empty:
                    raise DataError(
                        f"reference {number} of item {index} (from 0) has no word: {texts[number]!r}",
                        "give every item a summary to compare with",
                    )
            yield prepared

    def score(self, hypotheses: Iterable[str], references: Iterable[list[PreparedText]]) -> Score:
        combine = _COMBINE[self.refs]
        items = ItemScores()
        empty_items: list[int] = []
        number_of_references = 0
        for index, (text, texts) in enumerate(zip_longest(hypotheses, references)):
            if text is None or texts is None:
                more, fewer = ("references", "hypotheses") if text is None else ("hypotheses", "references")
                raise DataError(f"there are only {index} {fewer}, but more {more}", "give one hypothesis for each item")
            hypothesis = PreparedText(self.tokenizer.join(text))
            if hypothesis.empty:
                empty_items.append(index)
            scores = combine([rouge(hypothesis, reference) for reference in texts])
            assert scores.rougeL <= scores.rouge1, "a common subsequence has no words but common ones"
            items.rouge1.append(100 * scores.rouge1)
            items.rouge2.append(100 * scores.rouge2)
            items.rougeL.append(100 * scores.rougeL)
            items.final_score.append(100 * scores.mean)
            number_of_references = len(texts)
        n = len(items.final_score)
        if not n:
            raise DataError("there is nothing to score", "give at least one hypothesis and its reference")
        rouge1, rouge2, rouge_l = (fsum(values) / n for values in (items.rouge1, items.rouge2, items.rougeL))
        return Score(
            rouge1=rouge1,
            rouge2=rouge2,
            rougeL=rouge_l,
            final_score=(rouge1 + rouge2 + rouge_l) / 3,
            ci95=bootstrap_interval(items.final_score, seed=self.seed),
            n=n,
            empty_items=tuple(empty_items),
            signature=self.signature(number_of_references, n),
            items=items,
        )
