"""Two texts morpheme by morpheme: what they have in common, what one lacks and what it adds."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.metrics.morphemes import Tokenizer
from dialsum_cli.metrics.rouge import PreparedText, rouge
from dialsum_cli.results import Piece, WorstCase
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


def lowest(
    texts: Sequence[str], rows: Sequence[Dialogue], scores: Sequence[float], count: int, tokenizer: Tokenizer
) -> Iterator[WorstCase]:
    """The summaries with the lowest scores, each beside the reference that it is nearest to."""
    for index in sorted(range(len(rows)), key=scores.__getitem__)[:count]:
        text, row = texts[index], rows[index]
        prepared = PreparedText(tokenizer.join(text))
        closeness = [rouge(prepared, PreparedText(tokenizer.join(each))).mean for each in row.references]
        nearest = closeness.index(max(closeness))
        reference, summary = differences(text, row.references[nearest], tokenizer)
        yield WorstCase(
            index=index, fname=row.fname, final_score=scores[index], reference_number=nearest + 1,
            reference=reference, summary=summary,
        )  # fmt: skip


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
