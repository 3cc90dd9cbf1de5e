"""Two texts morpheme by morpheme: what they have in common, what one lacks and what it adds."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Literal

from dialsum_cli.metrics.morphemes import Tokenizer
from dialsum_cli.results import Piece
from dialsum_cli.text import TAG


def differences(summary: str, reference: str, tokenizer: Tokenizer) -> tuple[list[Piece], list[Piece]]:
    """The pieces of the reference, common or missing, and those of the summary, common or extra.

    A morpheme is in common if the other text has it anywhere, as ROUGE-1 counts; a tag, which ROUGE sees as several, is
    one piece. Joined, the pieces are the texts in NFC.
    """
    summary_words, reference_words = (
        {*_words(tokenizer.join(text)), *TAG.findall(text)} for text in (summary, reference)
    )
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
    within = {place for tag in TAG.finditer(text) for place in range(tag.start() + 1, tag.end())}
    start = end = 0
    for morpheme in tokenizer.join(text).split():
        before, end = end, text.index(morpheme, end) + len(morpheme)
        if end in within:
            continue
        piece = text[start:end]
        words = _words(morpheme) if start == before else TAG.findall(piece)
        yield Piece(piece, "" if not words else "common" if others.issuperset(words) else otherwise)
        start = end
    if end < len(text):
        yield Piece(text[end:], "")
