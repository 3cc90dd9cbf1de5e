"""Two texts morpheme by morpheme: what they have in common, what one lacks and what it adds."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Literal

from dialsum_cli.metrics.morphemes import Tokenizer
from dialsum_cli.results import Piece


def differences(summary: str, reference: str, tokenizer: Tokenizer) -> tuple[list[Piece], list[Piece]]:
    """The pieces of the reference, common or missing, and those of the summary, common or extra.

    A morpheme is in common if the other text has it anywhere, as ROUGE-1 counts. Joined, the pieces are the texts in
    NFC.
    """
    summary_words, reference_words = (set(_words(tokenizer.join(text))) for text in (summary, reference))
    return (
        list(_pieces(reference, tokenizer, summary_words, "missing")),
        list(_pieces(summary, tokenizer, reference_words, "extra")),
    )


def _words(morphemes: str) -> list[str]:
    return morphemes.replace(".", " ").split()


def _pieces(
    text: str, tokenizer: Tokenizer, others: set[str], otherwise: Literal["missing", "extra"]
) -> Iterator[Piece]:
    text = unicodedata.normalize("NFC", text)
    end = 0
    for morpheme in tokenizer.join(text).split():
        start, end = end, text.index(morpheme, end) + len(morpheme)
        words = _words(morpheme)
        yield Piece(text[start:end], "" if not words else "common" if others.issuperset(words) else otherwise)
    if end < len(text):
        yield Piece(text[end:], "")
