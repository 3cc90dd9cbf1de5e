"""What makes a submission unfit to be handed in, or odd: the rules, and a look at each summary beside its dialogue."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import regex

from dialsum_cli.metrics.diagnostics import diagnose, repetition_rate
from dialsum_cli.results import Finding
from dialsum_cli.text import SPEAKER_TAG, TAG, ends_sentence, foreign_scripts, without_word

SHOWN = 3  # examples of a finding
REPEATED = 0.2  # share of a summary's eojeol trigrams that stood in it before, from which on it repeats itself
OFF, FAR = 1.5, 2.0  # times longer or shorter than the training summaries: odd, and a fault
SYSTEMATIC = 0.2  # share of the summaries from which on an oddity is no slip but the way they were made
# People leave tags out as well, where a dialogue tells names, and a small model that spells Hangul in bytes slips now
# and then: it takes most of the summaries to say that tags were replaced, or that answers are decoded wrongly.
MOSTLY = 0.5
FIRST = 1000  # summaries that later ones are compared with


@dataclass(frozen=True, slots=True)
class Rule:
    """What can be wrong with a submission.

    Attributes:
        what: what is wrong, said of the rows that are counted.
        remedy: what to do about it.
        limit: share (0-1) of the rows from which on it is a fault, and no warning; None: it never is.
    """

    what: str
    remedy: str
    limit: float | None = 0.0


RULES: Mapping[str, Rule] = {
    # The file and its rows: one is enough to lose a submission.
    "encoding": Rule("text that is not UTF-8", "save the file as UTF-8"),
    "nul": Rule("a NUL byte, which no text has", "write the file again, as text in UTF-8"),
    "decomposed": Rule("decomposed Unicode (NFD), in which boards count other morphemes",
                       "write summaries in NFC: unicodedata.normalize('NFC', text)"),
    "decomposed_ids": Rule("ids in decomposed Unicode (NFD), which are other ids unless the board has them so",
                           "write them as the board's sample does", None),
    "byte_order_mark": Rule("a byte order mark, which strict readers take for a part of the first column's name",
                            "save the file as UTF-8 without BOM"),
    "header": Rule("the header has other columns",
                   "write `fname,summary`, separated by commas, or the columns of --template"),
    "columns": Rule("columns in another order, or more of them", "give the board's sample as --template to be sure",
                    None),
    "no_rows": Rule("no rows", "write one row per dialogue"),
    "unreadable": Rule("a row that can't be read, and all after it", "mend it, and check again"),
    "quotes": Rule("quotes that don't match", "double each quote within a quoted field"),
    "fields": Rule("more or fewer fields than the header has",
                   "put summaries that hold a comma, a quote or a line break in double quotes, as csv.writer does"),
    "no_id": Rule("no id", "give each row its id"),
    "unknown_ids": Rule("ids that the data don't have", "give the --data that it was written for"),
    "duplicate_ids": Rule("ids that stood in an earlier row", "keep one row of each id"),
    "missing_ids": Rule("dialogues without a row", "write one row per dialogue"),
    "order": Rule("rows in another order than the data (or the template)", "sort them: boards may join by row"),
    # The summaries: a slip is a warning, and what runs through them a fault.
    "empty": Rule("summaries without a word", "predict them again, or write a sentence: an empty one scores 0"),
    "broken_characters": Rule("broken characters (U+FFFD)",
                              "predict with --block-foreign, or decode whole answers with the model's own tokenizer",
                              MOSTLY),
    "broken_tags": Rule("broken tags", "mend them to #Person1#: look at decoding and at the repetition penalty",
                        SYSTEMATIC),
    "unknown_tags": Rule("tags that the dialogue doesn't have",
                         "see whether the model invents people, or rows were shifted", SYSTEMATIC),
    "lost_tags": Rule("no speaker's tag, though the dialogue has them",
                      "keep special tokens when decoding (skip_special_tokens=False)", MOSTLY),
    "replaced_tags": Rule("tags replaced by roles or letters", "call speakers as the dialogue does: #Person1#",
                          MOSTLY),
    "cut_off": Rule("no end of a sentence, as of an answer that was cut",
                    "raise --max-new-tokens, or lower the repetition penalty; `check --train FILE` knows a usual style",
                    SYSTEMATIC),
    "repetition": Rule("the same words over and over", "try --no-repeat-ngram-size or other decoding options",
                       SYSTEMATIC),
    "foreign_scripts": Rule("letters neither Hangul nor Latin that the dialogue doesn't have",
                            "predict with --block-foreign", SYSTEMATIC),
    "latin": Rule("Latin words that the dialogue doesn't have",
                  "predict with --block-foreign; where they are another dialogue's names, rows were shifted", None),
    "alike": Rule("the very summary of an earlier row", "see whether the model has read the dialogues", None),
    "long": Rule("longer than the dialogue", "lower --max-new-tokens, or ask for one sentence", SYSTEMATIC),
}  # fmt: skip

_OTHER_WORD = regex.compile(r"[\p{L}--\p{Script=Hangul}]+", regex.VERSION1)
_ROLE = regex.compile(
    r"(?<![\p{L}])(?:고객|손님|상담[원사]|직원|점원|종업원|판매원|상사|비서|동료|친구|의사|환자|간호사|교수|학생|선생|교사"
    r"|엄마|아빠|아버지|어머니|부모|남편|아내|아들|딸|기자|면접관|지원자|승객|기사|화자|발화자|남자|여자|남성|여성|[AB](?![A-Za-z]))"
)


@dataclass(slots=True)
class Findings:
    """What was found, rule by rule: how many rows, and the first of them."""

    rows: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, where: str) -> None:
        """Count a row against a rule of `RULES`; `where` names it."""
        self.rows[name] += 1
        if len(self.examples[name]) < SHOWN:
            self.examples[name].append(where)

    def listed(self, total: int, usual: Mapping[str, float] = MappingProxyType({})) -> list[Finding]:
        """The findings among `total` rows in the order of the rules; a share of no more than `usual` is none."""
        return [
            self._finding(name, total, usual.get(name, 0.0))
            for name in RULES
            if self.rows[name] > usual.get(name, 0.0) * total
        ]

    def _finding(self, name: str, total: int, usual: float) -> Finding:
        rule, rows = RULES[name], self.rows[name]
        fault = rule.limit is not None and rows >= (usual + rule.limit) * total
        return Finding(
            check=name,
            kind="fault" if fault else "warning",
            what=rule.what,
            rows=rows,
            examples=self.examples[name],
            remedy=rule.remedy,
        )


@dataclass(slots=True)
class Inspector:
    """Looks at summaries beside their dialogues.

    Attributes:
        usual: one that has looked at the training summaries: what they do as well is nothing odd.
    """

    usual: "Inspector | None" = None
    summaries: int = 0
    characters: int = 0
    roles: int = 0  # summaries without a tag that call somebody by a role
    first: set[str] = field(default_factory=set)  # the first summaries: what stands in many rows is among them
    found: Findings = field(default_factory=Findings)

    @property
    def length(self) -> float | None:
        """Mean characters of a summary, blanks included; None where there was none."""
        return self.characters / self.summaries if self.summaries else None

    def see(self, where: str, summary: str, dialogue: str) -> None:
        """Look at one summary; `where` names it in the findings."""
        self.summaries += 1
        self.characters += len(summary)
        if without_word(summary):
            self.found.add("empty", where)
            return
        if summary in self.first:
            self.found.add("alike", where)
        elif len(self.first) < FIRST:
            self.first.add(summary)
        # Each rule's cheap half comes first: data may be millions of rows, and next to none has anything to find.
        rest = TAG.sub(" ", summary)
        if len(rest) < len(summary) and (unknown := [tag for tag in TAG.findall(summary) if tag not in dialogue]):
            self.found.add("unknown_tags", f"{where}: {unknown[0]}")
        if not SPEAKER_TAG.search(summary) and SPEAKER_TAG.search(dialogue):
            self.roles += bool(_ROLE.search(summary))
            self.found.add("lost_tags", f"{where}: {summary[:20]}…")
        if ("#" in rest or "Person" in rest) and (broken := diagnose(summary, [dialogue], dialogue).broken_tags):
            self.found.add("broken_tags", f"{where}: {broken[0]}")
            for tag in broken:  # whose letters are no slip into another language
                rest = rest.replace(tag, " ")
        if _OTHER_WORD.search(rest) and (scripts := foreign_scripts(rest, dialogue)):
            name = "foreign_scripts" if scripts.keys() - {"Latin"} else "latin"
            slips = [word for word in _OTHER_WORD.findall(rest) if word not in dialogue]
            self.found.add(name, f"{where}: {', '.join(slips[:SHOWN] or scripts)}")
        if "\ufffd" in summary:
            start = max(summary.index("\ufffd") - 8, 0)
            self.found.add("broken_characters", f"{where}: …{summary[start : start + 16]}…")
        if not ends_sentence(summary):
            self.found.add("cut_off", f"{where}: …{summary.rstrip()[-12:]}")
        words = summary.split()
        if len(words) >= len(set(words)) + 3 and repetition_rate(summary) > REPEATED:
            self.found.add("repetition", f"{where}: …{summary.rstrip()[-24:]}")
        if len(summary) > len(dialogue):
            self.found.add("long", f"{where}: {len(summary)} characters of {len(dialogue)}")

    def findings(self) -> list[Finding]:
        """All that was found."""
        found = Findings(Counter(self.found.rows), self.found.examples.copy())
        if self.roles > found.rows["lost_tags"] / 2:  # they were not left out, but replaced
            found.rows["replaced_tags"] = found.rows.pop("lost_tags")
            found.examples["replaced_tags"] = found.examples.pop("lost_tags")
        if found.rows["alike"] < SYSTEMATIC * self.summaries:
            del found.rows["alike"]  # two short dialogues may well be told in the same words
        listed = found.listed(self.summaries, self.usual._shares() if self.usual else {})
        return [*listed, *self._length()]

    def _shares(self) -> dict[str, float]:
        shares = {name: rows / self.summaries for name, rows in self.found.rows.items()}
        return shares | {"replaced_tags": shares.get("lost_tags", 0.0)}

    def _length(self) -> list[Finding]:
        if not (self.usual and self.usual.length and self.length):
            return []
        ratio = self.length / self.usual.length
        if 1 / OFF < ratio < OFF:
            return []
        fault = not 1 / FAR < ratio < FAR
        what = f"{self.length:.0f} characters a summary, where the training summaries have {self.usual.length:.0f}"
        return [
            Finding(
                check="length",
                kind="fault" if fault else "warning",
                what=what,
                rows=self.summaries,
                examples=[],
                remedy="look at the prompt, --max-new-tokens and the decoding options",
            )
        ]
