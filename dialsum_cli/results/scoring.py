"""What `dialsum score` and `dialsum ensemble` return."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, SkipValidation

from dialsum_cli.results.base import Compared, Result, Scores


class Diagnostics(Result):
    """What a system's summaries are like, which their score doesn't tell; counts are of rows, shares are 0-1.

    What only the dialogues can tell is None where there are none.
    """

    empty: int
    """Without a word; they score 0."""
    length_ratio: float
    """Mean of a summary's characters over those of its reference (the mean of several), blanks left out."""
    repetition_rate: float
    """Mean share of a summary's eojeol trigrams that stood in it before: ROUGE's sets don't see them."""
    tag_fidelity: float | None
    """Mean share of a summary's speaker tags that its dialogue has."""
    unknown_tags: int | None
    """With a tag that neither the dialogue nor a reference has."""
    lost_tags: int
    """Without a tag that every reference has."""
    broken_tags: int
    """With something that looks like a tag and is none: `#Person1`, `#사람1#`."""
    broken_characters: int
    """With U+FFFD, which decoders write for bytes that are no character."""
    korean_ratio: float | None
    """Mean share of the letters, tags and words copied from the dialogue aside, that are Hangul."""
    foreign_scripts: dict[str, int] | None
    """Letters of each other script, tags and words copied from the dialogue aside."""
    cut_off: int
    """Not ended as a sentence ends."""
    speaker_swaps: int
    """Scoring better once #Person1# and #Person2# are exchanged."""
    unsupported_names: int | None
    """With a proper noun that its dialogue doesn't have; Mecab alone knows them."""
    unsupported_numbers: int | None
    """With a number in digits that its dialogue doesn't have."""


class Piece(NamedTuple):
    """A morpheme as it stands in its text, with the blanks before it; periods count for nothing and have no mark."""

    text: str
    mark: Literal["common", "missing", "extra", ""]


class WorstCase(Result):
    """One of a system's lowest scores, against the reference that it comes closest to, morpheme by morpheme."""

    index: int
    """The row's place in the gold file, from 0."""
    reference_number: int = 1
    """Which of the row's references, from 1."""
    fname: str
    final_score: float
    reference: list[Piece]
    summary: list[Piece]


class SystemScore(Compared):
    """The score of one prediction file; the comparison is with the first file, whose own fields for it are None."""

    path: str
    n: int
    empty: int
    """Predictions without a word: they count, with 0."""
    empty_fnames: list[str]
    by_refs: dict[str, float]
    """The final score by each way to combine references; one way where there is one reference."""
    diagnostics: Diagnostics
    worst: list[WorstCase] = []
    """As many as were asked for, the lowest score first."""


@dataclass(frozen=True, slots=True)
class SystemItems:
    """One system's summaries and their scores (0-100), row by row."""

    summaries: Sequence[str]
    rouge1: Sequence[float]
    rouge2: Sequence[float]
    rougeL: Sequence[float]  # noqa: N815 - the metric's name
    final_score: Sequence[float]
    worst: Sequence[WorstCase]
    """The lowest scores, as many as the page shows at least."""


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """What the means of a `ScoreResult` were made of, row by row in the order of the gold; no part of the JSON."""

    fnames: Sequence[str]
    dialogues: Sequence[str]
    """"" where there are no dialogues."""
    topics: Sequence[str]
    """"" where the gold file has no topic."""
    references: Sequence[Sequence[str]]
    systems: Sequence[SystemItems]
    """In the order of `ScoreResult.systems`."""


class Verification(Result):
    """Pairs that were scored again by the package `rouge`, all equal; on some it raises and has no score."""

    pairs: int
    raised: int


class ScoreResult(Result):
    """The scores of prediction files against one gold."""

    table = "systems"

    systems: list[SystemScore]
    signature: str
    floor: dict[str, float]
    """Final scores of what knows nothing of a dialogue: any system has to be above."""
    ceiling: dict[str, float]
    """Final scores of each reference against the other ones; empty where there is one reference."""
    tokenizer: str
    refs: Literal["mean", "best"]
    references: int
    """References of each row."""
    verification: Verification | None = None
    files: list[Path] = []
    """Files that were written."""
    items: Annotated[SkipValidation[ScoredItems | None], Field(exclude=True, repr=False)] = None


class EnsembleSystem(Result):
    """One of the systems among whose summaries was chosen; without a gold, it has no score."""

    path: str
    weight: float
    """What its vote counted."""
    chosen: int
    """Rows whose summary is its own; of several that wrote the same one, the best system's."""
    same: int
    """Rows whose summary it wrote, alone or as others did."""
    empty: int
    left_out: int
    """Rows in which its summary was left out because of its length."""
    agreement: list[float]
    """Mean `final_score` of its summaries with each system's as the reference, itself included, in their order."""
    family: int
    """Systems of one number agree so much that their votes are hardly more than one."""
    final_score: float | None = None
    ci95: tuple[float, float] | None = None


class EnsembleResult(Result):
    """An ensemble's file, and whether it is worth it; the comparison is with the best single system."""

    table = "systems"

    output: Path
    rows: int
    sha256: str
    verdict: Literal["ensemble", "do not ensemble", "unknown"]
    """`ensemble` where the gain is more than chance (p < 0.05); `unknown` without a gold."""
    systems: list[EnsembleSystem]
    decided_by_order: int
    """Rows in which several summaries had the highest expected utility, so that the better system decided."""
    left_out: int
    """Summaries that were left out because of their length."""
    score: Scores | None = None
    """Of the ensemble."""
    best: str | None = None
    """The best single system."""
    gain: float | None = None
    """The ensemble's final score minus that of the best single system, with its 95 % interval."""
    gain_ci95: tuple[float, float] | None = None
    p_value: float | None = None
    """Two-sided paired randomisation test."""
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    signature: str | None = None
    floor: dict[str, float] = {}
    """Of what needs no model, its final score; empty without a gold."""
