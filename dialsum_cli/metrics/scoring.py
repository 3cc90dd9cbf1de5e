"""The scores of a whole file: means over its items with their interval, the items, and the signature of the ruler."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from math import fsum
from typing import Literal, cast

from dialsum_cli import __version__
from dialsum_cli.errors import DataError, RequestError
from dialsum_cli.metrics.morphemes import Tokenizer
from dialsum_cli.metrics.morphemes import tokenizer as tokenizer_named
from dialsum_cli.metrics.rouge import PreparedText, Rouge, rouge
from dialsum_cli.metrics.statistics import bootstrap_interval

References = Literal["mean", "best"]

CONSTANT_SENTENCE = "#Person1#은 #Person2#에게 이야기합니다."
"""The floor: what saying this about every dialogue scores (27.80 on korean-dialogsum's dev split)."""


def other_items(n: int, seed: int) -> list[int]:
    """For each of n >= 2 items another one, drawn with the seed: what its reference scores is the second floor."""
    draw = random.Random(seed)
    return [(index + draw.randrange(1, n)) % n for index in range(n)]


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
    by_refs: dict[str, float]
    """The final score by each way to combine references: both ways where there are several, else the one asked for."""
    n: int
    empty_items: tuple[int, ...] = field(repr=False)
    """Where the hypothesis has no word (nothing, or only periods and blanks); such items count, with 0."""
    signature: str
    """What decides the numbers: only scores of equal signatures compare."""
    items: ItemScores = field(repr=False)
    seed: int = field(repr=False)
    """Decides the interval's resamples."""

    @cached_property
    def ci95(self) -> tuple[float, float]:
        """Low and high end of the final score's 95 % interval: a bootstrap over the items."""
        return bootstrap_interval(self.items.final_score, seed=self.seed)

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
        seed: decides the interval's resamples.

    Raises:
        DataError: an item has no reference, fewer or more than the first, or one without a word; it says which.
        MissingPartError: Mecab isn't installed as it has to be.
    """

    def __init__(self, references: Iterable[Sequence[str]], *, seed: int = 42) -> None:
        self._ruler = _Ruler("mean", tokenizer_named(), seed)
        self._references = list(self._ruler.prepare(references))
        if not self._references:
            raise DataError("there is nothing to score", "give at least one item with its reference")
        self.signature = self._ruler.signature(len(self._references[0]), len(self._references))

    def score(self, hypotheses: Iterable[str]) -> Score:
        """Score one system's hypotheses, in the order of the references.

        Raises:
            DataError: they are more or fewer than the items, or none.
        """
        [result] = self._ruler.score([hypotheses], self._references)
        return result


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

    Args:
        refs: what several references make of a score: the `mean` over them, or, for each of the three, the `best`.
        tokenizer: `mecab`, `char` or `eojeol`.
        allow_other_dictionary: let Mecab use another dictionary than the one that scores are compared by.

    Raises:
        RequestError: there is no such tokenizer, or no such `refs`; or as `Scorer` and its `score`.
    """
    made = tokenizer_named(tokenizer, allow_other_dictionary=allow_other_dictionary)
    [result] = score_all([hypotheses], references, refs=refs, tokenizer=made, seed=seed)
    return result


def score_all(
    systems: Sequence[Iterable[str]],
    references: Iterable[Sequence[str]],
    *,
    refs: References = "mean",
    tokenizer: Tokenizer,
    seed: int = 42,
) -> list[Score]:
    """Score several systems in one pass, each reference being cut into morphemes once and none kept.

    Arguments and errors are those of `Scorer` and its `score`.
    """
    ruler = _Ruler(refs, tokenizer, seed)
    return ruler.score(systems, ruler.prepare(references))


def agreement(
    references: Iterable[Sequence[str]], *, refs: References = "mean", tokenizer: Tokenizer, seed: int = 42
) -> list[float]:
    """The final score of each of several references, as if a system had written it, against the other ones.

    That is how far people agree: a ceiling, but with one reference fewer than systems are scored with.

    Raises:
        ValueError: there is only one reference.
    """
    rows = list(references)
    if any(len(texts) < 2 for texts in rows):
        raise ValueError("the agreement of references needs two or more of them")
    return [
        score_all(
            [[texts[left_out] for texts in rows]],
            ([text for number, text in enumerate(texts) if number != left_out] for texts in rows),
            refs=refs, tokenizer=tokenizer, seed=seed,
        )[0].final_score
        for left_out in range(len(rows[0]))
    ]  # fmt: skip


def _mean(scores: list[Rouge]) -> Rouge:
    if len(scores) == 1:
        return scores[0]
    return Rouge(*(fsum(values) / len(scores) for values in zip(*scores, strict=True)))


def _best(scores: list[Rouge]) -> Rouge:
    return Rouge(*map(max, zip(*scores, strict=True)))


COMBINE: dict[str, Callable[[list[Rouge]], Rouge]] = {"mean": _mean, "best": _best}
"""What several references make of a score, by name."""


class _Ruler:
    """What turns texts into numbers, and its signature."""

    def __init__(self, refs: str, tokenizer: Tokenizer, seed: int) -> None:
        if refs not in COMBINE:
            raise RequestError(f"{refs!r} is no way to combine several references", f"choose {' or '.join(COMBINE)}")
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

    def score(self, systems: Sequence[Iterable[str]], references: Iterable[list[PreparedText]]) -> list[Score]:
        columns = [_Column(self.refs) for _ in systems]
        number_of_references = n = 0
        for row in zip_longest(references, *systems):
            texts = cast(list[PreparedText], row[0])
            hypotheses = cast(tuple[str, ...], row[1:])
            if None in row:
                more, fewer = ("hypotheses", "references") if row[0] is None else ("references", "hypotheses")
                raise DataError(f"there are only {n} {fewer}, but more {more}", "give one hypothesis for each item")
            number_of_references = len(texts)
            for column, hypothesis in zip(columns, hypotheses, strict=True):
                column.add(PreparedText(self.tokenizer.join(hypothesis)), texts)
            n += 1
        if not n:
            raise DataError("there is nothing to score", "give at least one hypothesis and its reference")
        signature = self.signature(number_of_references, n)
        return [column.total(signature, number_of_references, self.seed) for column in columns]


_ZERO = Rouge(0.0, 0.0, 0.0)


class _Column:
    """The scores of one system, as they come."""

    def __init__(self, refs: str) -> None:
        self.refs = refs
        self.items = ItemScores()
        self.otherwise = {name: array("d") for name in COMBINE if name != refs}
        self.empty: list[int] = []

    def add(self, hypothesis: PreparedText, references: list[PreparedText]) -> None:
        if hypothesis.empty:  # 0 by our rule: the package would find its phantom words in some references, too
            self.empty.append(len(self.items.final_score))
            scores = [_ZERO] * len(references)
        else:
            scores = [rouge(hypothesis, reference) for reference in references]
        combined = COMBINE[self.refs](scores)
        assert combined.rougeL <= combined.rouge1, "a common subsequence has no words but common ones"
        self.items.rouge1.append(100 * combined.rouge1)
        self.items.rouge2.append(100 * combined.rouge2)
        self.items.rougeL.append(100 * combined.rougeL)
        self.items.final_score.append(100 * combined.mean)
        if len(references) > 1:
            for name, finals in self.otherwise.items():
                finals.append(100 * COMBINE[name](scores).mean)

    def total(self, signature: str, references: int, seed: int) -> Score:
        items, n = self.items, len(self.items.final_score)
        rouge1, rouge2, rouge_l = (fsum(values) / n for values in (items.rouge1, items.rouge2, items.rougeL))
        final_score = (rouge1 + rouge2 + rouge_l) / 3
        otherwise = {name: fsum(finals) / n for name, finals in self.otherwise.items() if references > 1}
        return Score(
            rouge1=rouge1,
            rouge2=rouge2,
            rougeL=rouge_l,
            final_score=final_score,
            by_refs={self.refs: final_score, **otherwise},
            n=n,
            empty_items=tuple(self.empty),
            signature=signature,
            items=items,
            seed=seed,
        )
