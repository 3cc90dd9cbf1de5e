"""Korean particles that agree with the word before them."""

import re

# particle as written in a template -> (after a final consonant, after a vowel)
PARTICLES = {
    "은": ("은", "는"),
    "이": ("이", "가"),
    "을": ("을", "를"),
    "과": ("과", "와"),
    "으로": ("으로", "로"),
    "아": ("아", "야"),
    "이나": ("이나", "나"),
    "이라": ("이라", "라"),
    "이랑": ("이랑", "랑"),
    "이에요": ("이에요", "예요"),
    "이었": ("이었", "였"),
    "이면": ("이면", "면"),
    "이고": ("이고", "고"),
    "이지": ("이지", "지"),
    "인데": ("인데", "ㄴ데"),  # joined into the syllable before a vowel
}
NO_FINAL, RIEUL = 0, 8
DIGIT_FINALS = {"0": 21, "1": RIEUL, "2": 0, "3": 16, "4": 0, "5": 0, "6": 1, "7": RIEUL, "8": RIEUL, "9": 0}
# How a Latin word ends when read in Korean ("케빈", "다니엘"; the r of "파커" is silent), and the last letter of an
# acronym ("엘", "엠", "엔", "알" end in a consonant).
LATIN_FINALS = {"l": RIEUL, "m": 16, "n": 4, "b": 17, "k": 1, "p": 17, "t": 19, "c": 1, "d": 0, "g": 1}
ACRONYM_FINALS = {"L": RIEUL, "M": 16, "N": 4, "R": RIEUL}
TAG_END = re.compile(r"#(?:[A-Za-z]+?)(\d*)#$")
TAG_FINALS = {"PhoneNumber": 0, "Address": 0, "DateOfBirth": 0, "PassportNumber": 0, "SSN": 4, "CardNumber": 0,
              "CarNumber": 0, "Email": RIEUL}  # fmt: skip


def final_consonant(text: str) -> int:
    """The index of the final consonant (0: none) with which the last syllable of `text`, read aloud, ends."""
    tag = TAG_END.search(text)
    if tag:
        return DIGIT_FINALS[tag.group(1)[-1]] if tag.group(1) else TAG_FINALS[tag.group(0).strip("#")]
    last = text.rstrip("\"'”’)")[-1:]
    if "가" <= last <= "힣":
        return (ord(last) - ord("가")) % 28
    if last in DIGIT_FINALS:
        return DIGIT_FINALS[last]
    if last.isascii() and last.isalpha():
        acronym = last.isupper()
        return LATIN_FINALS.get(last.lower(), 0) if not acronym else ACRONYM_FINALS.get(last, 0)
    raise ValueError(f"no particle can follow {text[-10:]!r}")


def attach(text: str, particle: str) -> str:
    """`text` with the form of `particle` that agrees with its last syllable."""
    after_consonant, after_vowel = PARTICLES[particle]
    final = final_consonant(text)
    if final == NO_FINAL and after_vowel.startswith("ㄴ"):
        if not "가" <= text[-1] <= "힣":  # nothing to join with: the full form is right as well
            return text + after_consonant
        return text[:-1] + chr(ord(text[-1]) + 4) + after_vowel[1:]
    if final == NO_FINAL or (particle == "으로" and final == RIEUL):
        return text + after_vowel
    return text + after_consonant


def fill(template: str, values: dict[str, str]) -> str:
    """`template` with `{slot}` replaced by its value and `{particle}` by the form that agrees with what precedes it."""
    text = ""
    for piece in re.split(r"(\{[^{}]+\})", template):
        if not piece.startswith("{"):
            text += piece
        elif piece[1:-1] in values:
            text += values[piece[1:-1]]
        elif piece[1:-1] in PARTICLES:
            text = attach(text, piece[1:-1])
        else:
            raise KeyError(f"{piece} in {template!r} is neither a slot nor a particle")
    return text
