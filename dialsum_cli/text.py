"""What several rooms know about Korean dialogue text: tags, scripts and sentence ends."""

from collections import Counter

import regex  # `re` knows no Unicode scripts

TAG_NAMES = ("Person", "PhoneNumber", "Address", "DateOfBirth", "PassportNumber",
             "SSN", "CardNumber", "CarNumber", "Email")  # fmt: skip
"""DialogSum's tags without their `#`: speakers, which are numbered, and what stands for private facts."""

TAG = regex.compile(f"#(?:Person[0-9]+|{'|'.join(TAG_NAMES[1:])})#")
"""Any known tag, such as `#Person1#` or `#Email#`."""

SPEAKER_TAG = regex.compile("#Person[0-9]+#")

_HANGUL = regex.compile(r"[\p{Script=Hangul}&&\p{L}]", regex.VERSION1)
_FOREIGN_WORD = regex.compile(r"[\p{L}--\p{Script=Hangul}]+", regex.VERSION1)
_SCRIPTS = ("Latin", "Han", "Hiragana", "Katakana", "Cyrillic", "Greek", "Arabic", "Hebrew", "Thai", "Devanagari")
_FOREIGN_LETTER = regex.compile(
    "|".join(rf"(?P<{script}>[\p{{Script={script}}}&&\p{{L}}])" for script in _SCRIPTS)
    + r"|(?P<other>[\p{L}--\p{Script=Hangul}])",
    regex.VERSION1,
)

_SENTENCE_END = regex.compile(r"[.!?…。！？][\p{Pe}\p{Pf}\"']*\s*\Z")


def korean_ratio(summary: str, dialogue: str) -> float:
    """The share (0-1) of a summary's letters that are Hangul; 1.0 where it has no letters to judge.

    Letters within tags don't count, nor do foreign words that stand in the dialogue as they are: a name that was
    copied is no slip into another language. A word is a run of letters that aren't Hangul, so that `Jimmy는` holds
    one; digits and punctuation are no letters.
    """
    text = TAG.sub(" ", summary)
    copied = set(_FOREIGN_WORD.findall(TAG.sub(" ", dialogue)))
    hangul = len(_HANGUL.findall(text))
    foreign = sum(len(word) for word in _FOREIGN_WORD.findall(text) if word not in copied)
    return hangul / (hangul + foreign) if hangul + foreign else 1.0


def tag_fidelity(summary: str, dialogue: str) -> float | None:
    """The share (0-1) of a summary's speaker tags, each counted as often as it stands there, that its dialogue has.

    None where the summary has no speaker tag: it was neither faithful nor unfaithful, so a mean has to leave it out.
    """
    tags = SPEAKER_TAG.findall(summary)
    known = set(SPEAKER_TAG.findall(dialogue))
    return sum(tag in known for tag in tags) / len(tags) if tags else None


def foreign_scripts(text: str, dialogue: str = "") -> Counter[str]:
    """How many letters outside tags each script other than Hangul has; scripts without a name here are `other`.

    Words that stand in the dialogue as they are don't count, as in `korean_ratio`.
    """
    copied = set(_FOREIGN_WORD.findall(TAG.sub(" ", dialogue)))
    words = (word for word in _FOREIGN_WORD.findall(TAG.sub(" ", text)) if word not in copied)
    return Counter(str(letter.lastgroup) for word in words for letter in _FOREIGN_LETTER.finditer(word))


def ends_sentence(text: str) -> bool:
    """Whether a text ends as a sentence does, closing quotes and brackets aside; a cut-off summary doesn't."""
    return bool(_SENTENCE_END.search(text))


def without_word(text: str) -> bool:
    """Whether a text has only periods and blanks, if anything: ROUGE finds no word in it."""
    return not "".join(text.split()).strip(".")


def without_half(text: str) -> str:
    """A text that was cut off, without the half character (U+FFFD as decoders write it) or half tag at its end."""
    text = text.rstrip("\ufffd")
    whole = max((tag.end() for tag in TAG.finditer(text)), default=0)
    start = text.rfind("#", whole)
    return text[:start] if start >= 0 and TAG.fullmatch(text, start, partial=True) else text
