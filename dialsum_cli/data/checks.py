"""Checks of training data before the first step: copies, leaks from train into dev, summaries that mislead."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Literal
from unicodedata import normalize

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.results import DataCheckResult, Finding
from dialsum_cli.text import TAG

PIECE = 5
"""Characters of the pieces by which dialogues are compared."""

NEAR = 0.3
"""Jaccard index (pieces in common over pieces in either) from which on two dialogues are nearly the same.

Unrelated Korean dialogues hardly reach 0.2. Two translations of one English dialogue, which is how train and dev of
DialogSum overlap, have 0.2 to 0.5; from 0.3 on, no pair that was read was anything else.
"""

SHORT = 3
"""Words (between blanks) that a summary has at least: a subject, an object and a verb."""

EXAMPLES = 3


def check_data(train: Sequence[Dialogue], dev: Sequence[Dialogue]) -> DataCheckResult:
    """What a user should know about dialogues to learn from and to judge by; nothing is changed, nothing refused."""
    findings = [*_copies(train), *_leaks(train, dev), *_summaries("train", train), *_summaries("dev", dev)]
    return DataCheckResult(findings=findings)


def _found(
    check: str, examples: Sequence[str], what: str, remedy: str, kind: Literal["warning", "note"] = "warning"
) -> Iterator[Finding]:
    """A finding where there is one, with the first of its examples."""
    if examples:
        yield Finding(
            check=check,
            kind=kind,
            what=what,
            rows=len(examples),
            examples=[*examples[:EXAMPLES]],
            remedy=remedy,
        )


def normalised(text: str) -> str:
    """A text's letters and digits, in one case and without blanks: what is left when spacing and punctuation change."""
    return re.sub(r"[\W_]+", "", normalize("NFKC", text).casefold())


def _copies(train: Sequence[Dialogue]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    pairs = [(each.fname, first.setdefault(normalised(each.text), each.fname)) for each in train]
    examples = [f"{fname} = {earlier}" for fname, earlier in pairs if fname != earlier]
    yield from _found(
        "duplicate",
        examples,
        "train dialogues that repeat an earlier one",
        "They count twice in training: remove all but one of each.",
    )


def _leaks(train: Sequence[Dialogue], dev: Sequence[Dialogue]) -> Iterator[Finding]:
    known = {normalised(each.text): each.fname for each in train}
    exact = {each.fname: known[text] for each in dev if (text := normalised(each.text)) in known}
    yield from _found(
        "leak",
        [f"{fname} = {other}" for fname, other in exact.items()],
        "dev dialogues that are in train as well",
        "Scores on dev will be too high: remove these dialogues from train.",
    )
    rest = [each for each in dev if each.fname not in exact]
    near = _nearest(list(known), [normalised(each.text) for each in rest])
    names = list(known.values())
    yield from _found(
        "near_leak",
        [f"{rest[index].fname} ~ {names[other]} ({share:.0%})" for share, index, other in near],
        f"dev dialogues of whose text {NEAR:.0%} or more is in train, as with two translations of one dialogue",
        "Scores on dev will be too high: remove their counterparts from train, or compare runs on the same data only.",
    )


def _pieces(text: str) -> set[str]:
    return {text[start : start + PIECE] for start in range(max(1, len(text) - PIECE + 1))}


def _nearest(train: Sequence[str], dev: Sequence[str]) -> list[tuple[float, int, int]]:
    """For each text of dev that has a near one in train: (Jaccard index, its index, the nearest's), nearest first.

    Exact, by prefix filtering (Chaudhuri et al. 2006, doi:10.1109/ICDE.2006.9): two sets with an index of t or more
    have t|x| elements of x in common, so one of any |x| - t|x| + 1 of them; the rarest are few to look at.
    """
    sets = [_pieces(text) for text in dev]
    frequency = Counter(piece for pieces in sets for piece in pieces)
    holders: dict[str, list[int]] = {}
    for index, pieces in enumerate(sets):
        rarest = sorted(pieces, key=lambda piece: (frequency[piece], piece))
        for piece in rarest[: len(pieces) - ceil(NEAR * len(pieces)) + 1]:
            holders.setdefault(piece, []).append(index)
    best: dict[int, tuple[float, int]] = {}
    for other, text in enumerate(train):
        pieces = _pieces(text)
        for index in {index for piece in holders.keys() & pieces for index in holders[piece]}:
            common = len(pieces & sets[index])
            share = common / (len(pieces) + len(sets[index]) - common)
            if share >= max(NEAR, best.get(index, (0.0, 0))[0]):
                best[index] = share, other
    return sorted(((share, index, other) for index, (share, other) in best.items()), reverse=True)


def _summaries(split: str, dialogues: Sequence[Dialogue]) -> Iterator[Finding]:
    empty, short, long, tags = [], [], [], []
    for each in dialogues:
        known = set(TAG.findall(each.text))
        if not each.references:
            empty.append(each.fname)
        for reference in each.references:
            unknown = dict.fromkeys(tag for tag in TAG.findall(reference) if tag not in known)
            if not normalised(reference):
                empty.append(each.fname)
            elif len(reference.split()) < SHORT:
                short.append(f"{each.fname} ({reference})")
            if len(normalised(reference)) > len(normalised(each.text)):
                long.append(each.fname)
            if unknown:
                tags.append(f"{each.fname} ({', '.join(unknown)})")
    yield from _found(
        "empty_summary",
        empty,
        f"{split} summaries without a word",
        "A model learns to say nothing: mend or remove these rows.",
    )
    yield from _found(
        "short_summary",
        short,
        f"{split} summaries of fewer than {SHORT} words",
        "Look whether they were cut off.",
        "note",
    )
    yield from _found(
        "long_summary",
        long,
        f"{split} summaries that are longer than their dialogue",
        "Look whether the columns were swapped.",
    )
    yield from _found(
        "unknown_tag",
        tags,
        f"{split} summaries with a tag that their dialogue lacks",
        "A model learns to invent people: mend the tags, or remove these rows.",
    )
