"""What is wrong with summaries that a score doesn't tell: tags, scripts, length, repetition, invented facts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import regex

from dialsum_cli.results import Diagnostics
from dialsum_cli.text import TAG, TAG_NAMES, ends_sentence, foreign_scripts, korean_ratio, tag_fidelity, without_word

_NAMES = "|".join(TAG_NAMES)
# Half a tag, one with blanks in it, or one that DialogSum doesn't know; a hashtag (`#여행`) and `Email로` are none.
_BROKEN_TAG = regex.compile(
    rf"#\s?(?:{_NAMES})\s?[0-9]*\s?#?|(?:{_NAMES})\s?[0-9]*\s?#|Person\s?[0-9]+|#[^#\s]{{1,20}}#"
)
_NUMBER = regex.compile(r"[0-9]+(?:[.,:][0-9]+)*")
_SPEAKERS = {"#Person1#": "#Person2#", "#Person2#": "#Person1#"}
_TWO_SPEAKERS = regex.compile("|".join(_SPEAKERS))
_NGRAM = 3


@dataclass(frozen=True, slots=True)
class ItemDiagnostics:
    """What stands out in one summary; what only its dialogue can tell is None without one."""

    length_ratio: float
    """Characters over those of the reference (the mean of several), blanks left out."""
    repetition_rate: float
    """Share (0-1) of the eojeol trigrams that stood in the summary before."""
    tag_fidelity: float | None
    """Share (0-1) of the speaker tags that the dialogue has; None where the summary has none, too."""
    unknown_tags: tuple[str, ...] | None
    """Tags that neither the dialogue nor a reference has."""
    lost_tags: tuple[str, ...]
    """Tags that every reference has and the summary lacks."""
    broken_tags: tuple[str, ...]
    """What looks like a tag and is none."""
    broken_characters: int
    """How many U+FFFD: what decoders write for bytes that are no character."""
    korean_ratio: float | None
    """Share (0-1) of the letters that are Hangul, tags and words copied from the dialogue aside."""
    foreign_scripts: Counter[str] | None
    """Letters of each other script, tags and words copied from the dialogue aside."""
    cut_off: bool
    """Whether it doesn't end as a sentence does; an empty one isn't cut off."""
    unsupported_names: tuple[str, ...] | None
    """Proper nouns that the dialogue doesn't have; None also where the tokenizer knows none."""
    unsupported_numbers: tuple[str, ...] | None
    """Numbers in digits that the dialogue doesn't have in digits."""


def diagnose(
    summary: str, references: Sequence[str], dialogue: str = "", *, names: Callable[[str], set[str]] | None = None
) -> ItemDiagnostics:
    """Look at one summary.

    Args:
        summary: what a system wrote.
        references: one or more summaries by people.
        dialogue: what was summarised; "" where it isn't known.
        names: text -> its proper nouns, as `Tokenizer.names`.
    """
    tags, wanted = set(TAG.findall(summary)), [set(TAG.findall(reference)) for reference in references]
    broken, written = _BROKEN_TAG.findall(TAG.sub(" ", summary)), TAG.sub(" ", dialogue or "\n".join(references))
    return ItemDiagnostics(
        length_ratio=_length(summary) * len(references) / sum(map(_length, references)),
        repetition_rate=repetition_rate(summary),
        tag_fidelity=tag_fidelity(summary, dialogue) if dialogue else None,
        unknown_tags=tuple(sorted(tags - set(TAG.findall(dialogue)).union(*wanted))) if dialogue else None,
        lost_tags=tuple(sorted(set.intersection(*wanted) - tags)),
        broken_tags=tuple(tag.strip() for tag in broken if tag not in written),
        broken_characters=summary.count("\ufffd"),
        korean_ratio=korean_ratio(summary, dialogue) if dialogue else None,
        foreign_scripts=foreign_scripts(summary, dialogue) if dialogue else None,
        cut_off=not without_word(summary) and not ends_sentence(summary),
        unsupported_names=_unsupported(names(summary), "".join(dialogue.split())) if dialogue and names else None,
        unsupported_numbers=_unsupported(_numbers(summary), _numbers(dialogue)) if dialogue else None,
    )


def totals(items: Iterable[ItemDiagnostics], *, empty: int, speaker_swaps: int) -> Diagnostics:
    """What was found in all of a system's summaries, one or more; the two counts come from their scores."""
    totals: defaultdict[str, _Total] = defaultdict(_Total)
    foreign: Counter[str] | None = None
    for item in items:
        for name in _MEANS:
            totals[name].add(getattr(item, name))
        for name in _COUNTS:
            found = getattr(item, name)
            totals[name].add(None if found is None else bool(found))
        if item.foreign_scripts is not None:
            foreign = (foreign or Counter()) + item.foreign_scripts
    return Diagnostics.model_validate(
        {"empty": empty, "speaker_swaps": speaker_swaps}
        | {"foreign_scripts": None if foreign is None else dict(foreign.most_common())}
        | {name: totals[name].mean for name in _MEANS}
        | {name: totals[name].count for name in _COUNTS}
    )


_MEANS = ("length_ratio", "repetition_rate", "tag_fidelity", "korean_ratio")
_COUNTS = ("unknown_tags", "lost_tags", "broken_tags", "broken_characters", "cut_off",
           "unsupported_names", "unsupported_numbers")  # fmt: skip


@dataclass(slots=True)
class _Total:
    """A sum as its values come; None is no value, and without any there is neither mean nor count."""

    sum: float = 0.0
    n: int = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.sum, self.n = self.sum + value, self.n + 1

    @property
    def mean(self) -> float | None:
        return self.sum / self.n if self.n else None

    @property
    def count(self) -> int | None:
        return int(self.sum) if self.n else None


def swap_speakers(text: str) -> str:
    """The text with #Person1# and #Person2# exchanged."""
    return _TWO_SPEAKERS.sub(lambda tag: _SPEAKERS[tag[0]], text)


def repetition_rate(text: str) -> float:
    """The share (0-1) of a text's eojeol trigrams that stood in it before; 0 where it has none.

    1 - distinct / all n-grams: seq-rep-n of Welleck et al., "Neural Text Generation with Unlikelihood Training" (2020),
    with n = 3, as a summary has few words.
    """
    words = text.split()
    ngrams = [tuple(words[start : start + _NGRAM]) for start in range(len(words) - _NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _length(text: str) -> int:
    return len("".join(text.split()))


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in _NUMBER.findall(TAG.sub(" ", text))}


def _unsupported(found: set[str], source: str | set[str]) -> tuple[str, ...]:
    return tuple(sorted(fact for fact in found if fact not in source))
