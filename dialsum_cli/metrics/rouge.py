"""ROUGE-1, ROUGE-2 and ROUGE-L, bit for bit as the package `rouge` 1.0.1 computes them, and many times faster."""

from __future__ import annotations

import hashlib
import itertools
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from dialsum_cli.errors import MissingPartError

# What the package computes:
# - A period is never a word, always the border of a sentence; a sentence of blanks holds one phantom word, "".
# - ROUGE-N compares SETS of n-grams of all words of a text in a row: bigrams cross the borders of sentences.
# - ROUGE-L takes, for each sentence of the reference and each of the hypothesis, the words of ONE longest common
#   subsequence, unites these sets, and counts against the sets of distinct words. Several subsequences may be longest:
#   only the very one that the package's backtrace picks gives its number, and the score isn't symmetric.


class Rouge(NamedTuple):
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L, each from 0 to 1."""

    rouge1: float
    rouge2: float
    rougeL: float  # noqa: N815  (its name in the field)

    @property
    def mean(self) -> float:
        """The mean of the three, 0 to 1: `final_score` / 100."""
        return (self.rouge1 + self.rouge2 + self.rougeL) / 3


class PreparedText:
    """A text split once into what ROUGE compares; it takes 5 to 10 KB for a summary of 40 morphemes.

    Args:
        morphemes: the text's morphemes joined by blanks.
    """

    __slots__ = ("bigrams", "sentences", "unigrams")

    def __init__(self, morphemes: str) -> None:
        self.sentences = [piece.split() or [""] for piece in morphemes.split(".") if piece]
        words = [word for sentence in self.sentences for word in sentence]
        self.unigrams = frozenset(words)
        self.bigrams = frozenset(itertools.pairwise(words))

    @property
    def empty(self) -> bool:
        """Whether it has no word, only periods and blanks, if anything.

        The package raises on `""`, `"."` and `"..."`; here they score 0. A text of periods and blanks (`". .."`) has
        a phantom word for the package: it scores 0 as well, save against a text that also holds one.
        """
        return not any(self.unigrams)


def rouge(hypothesis: PreparedText, reference: PreparedText) -> Rouge:
    """Score one text against one reference; nothing raises, and sentences may have thousands of words."""
    [common] = _Columns([hypothesis]).common_words(reference)
    return _f_scores(hypothesis, reference, common)


def pairwise(texts: Sequence[PreparedText]) -> list[list[Rouge]]:
    """Score each text against each other: N x N, `[i][j]` being text i as the hypothesis for text j as the reference.

    Against all N at once a reference costs about as much as against one, save for the backtraces.
    """
    columns = _Columns(texts)
    common = [columns.common_words(reference) for reference in texts]
    return [
        [_f_scores(hypothesis, reference, common[j][i]) for j, reference in enumerate(texts)]
        for i, hypothesis in enumerate(texts)
    ]


def _f_scores(hypothesis: PreparedText, reference: PreparedText, common_words: int) -> Rouge:
    words, reference_words = len(hypothesis.unigrams), len(reference.unigrams)
    return Rouge(
        _f1(len(hypothesis.unigrams & reference.unigrams), words, reference_words),
        _f1(len(hypothesis.bigrams & reference.bigrams), len(hypothesis.bigrams), len(reference.bigrams)),
        _f1(common_words, words, reference_words),
    )


def _f1(overlap: int, in_hypothesis: int, in_reference: int) -> float:
    if not overlap:
        return 0.0
    # The same operations in the same order as in the package: the results are equal, not just close.
    precision, recall = overlap / in_hypothesis, overlap / in_reference
    return 2.0 * ((precision * recall) / (precision + recall + 1e-8))


class _Columns:
    """The words of several texts, one bit each, as the columns of one table of longest common subsequences.

    T[i][j] is the length for the reference's first i words and a sentence's first j. A row is one integer for all
    texts: the columns where the length doesn't grow, T[i][j] == T[i][j-1] (Hyyro, "Bit-parallel LCS-length computation
    revisited", 2004). After each sentence a bit stays 0 and stops the carry of the sum.
    """

    def __init__(self, texts: Sequence[PreparedText]) -> None:
        self.positions = positions = dict[str, int]()  # word -> the columns where it stands
        self.all = 0
        self.spans: list[list[tuple[int, int]]] = []  # of each text: the first column and the end of its sentences
        bit = 1
        for text in texts:
            spans = []
            for sentence in text.sentences:
                first = bit
                for word in sentence:
                    positions[word] = positions.get(word, 0) | bit
                    bit <<= 1
                spans.append((first, bit))
                self.all |= bit - first
                bit <<= 1
            self.spans.append(spans)

    def common_words(self, reference: PreparedText) -> list[int]:
        """For each text, how many distinct words its ROUGE-L shares with the reference."""
        common: list[set[str]] = [set() for _ in self.spans]
        for sentence in reference.sentences:
            rows, last = self._table(sentence)
            for words, spans in zip(common, self.spans, strict=True):
                for first, end in spans:
                    _backtrace(rows, last, first, end, words)
        return [len(words) for words in common]

    def _table(self, sentence: list[str]) -> tuple[list[tuple[str, int, int]], int]:
        """The rows, the last one first, and the columns where the last one grows.

        A row: its word, the columns that match it, and those where the row above grows. One without matches equals the
        row above and is left out.
        """
        rows = []
        matching = self.positions.get
        flat = everywhere = self.all
        for word in sentence:
            if matches := matching(word):
                rows.append((word, matches, flat ^ everywhere))
                carried = flat & matches
                flat = ((flat + carried) | (flat - carried)) & everywhere
        rows.reverse()
        return rows, flat ^ everywhere


def _backtrace(rows: list[tuple[str, int, int]], last: int, first: int, end: int, words: set[str]) -> None:
    """Add the words of the subsequence that the package's backtrace picks in the columns from `first` to before `end`.

    Its rule, from the last cell on: take a match; else go up if T[i-1][j] > T[i][j-1]; else go left. Of the columns
    where a row has the same length, the first one, where it grows, can stand for all: the row above is still shorter
    left of a match, so if there is one further right, the first column matches as well, and both ways go on alike.
    There, without a match, the rule goes up, and the row above grows in that column, too.
    """
    column = _highest(last & (end - first))
    for word, matches, above in rows:
        if matches & column:
            words.add(word)
            column = _highest(above & (column - first))


def _highest(bits: int) -> int:
    return 1 << bits.bit_length() >> 1


def referee() -> Callable[[str, str], Rouge | None]:
    """The package `rouge` 1.0.1 itself, to check this module by: (hypothesis, reference) -> its F1.

    It answers None where the package raises: a text without a word, or too many words without a period.

    Raises:
        MissingPartError: it isn't installed, or another package overwrote its files.
    """
    try:
        installed = metadata.distribution("rouge")
    except metadata.PackageNotFoundError:
        raise MissingPartError("the package rouge isn't installed", "pip install rouge==1.0.1") from None
    if installed.version != "1.0.1":
        raise MissingPartError(f"rouge is {installed.version}, not 1.0.1", "pip install rouge==1.0.1")
    module = find_spec("rouge")
    folder = Path(module.origin).parent if module and module.origin else Path("rouge")
    if not all(_is_intact(file, folder) for file in installed.files or () if file.parent.name == "rouge" and file.hash):
        # py-rouge, easy-rouge and others install a module of the same name over it.
        others = sorted(set(metadata.packages_distributions().get("rouge", ())) - {"rouge"})
        raise MissingPartError(
            f"{folder} isn't the module of rouge 1.0.1" + (f": {', '.join(others)} overwrote it" if others else ""),
            (f"pip uninstall -y {' '.join(others)} && " if others else "")
            + "pip install --force-reinstall --no-deps rouge==1.0.1",
        )
    from rouge import Rouge as Package

    package = Package()

    def judge(hypothesis: str, reference: str) -> Rouge | None:
        try:
            [scores] = package.get_scores(hypothesis, reference)
        except (ValueError, RecursionError):
            return None
        return Rouge(scores["rouge-1"]["f"], scores["rouge-2"]["f"], scores["rouge-l"]["f"])

    return judge


def _is_intact(installed: metadata.PackagePath, folder: Path) -> bool:
    file = folder / installed.name
    if installed.hash is None or not file.is_file():
        return False
    digest = hashlib.new(installed.hash.mode, file.read_bytes()).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=") == installed.hash.value
