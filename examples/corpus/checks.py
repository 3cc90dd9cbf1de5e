"""Print what the corpus holds and how far trivial summaries get on it."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import permutations
from operator import or_
from statistics import mean

from mecab import MeCab
from rouge import Rouge

from corpus.build import BUNDLED, REFERENCES

Row = dict[str, str]
SPEAKER = re.compile(r"#Person\d#")
CONSTANT = "#Person1#은 #Person2#에게 이야기합니다."


def read(name: str) -> list[Row]:
    """The rows of one of the shipped files."""
    with (BUNDLED / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Scorer:
    """The final score: the mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L over Mecab's morphemes, times 100."""

    def __init__(self) -> None:
        self.mecab = MeCab()
        self.rouge = Rouge()
        self.morphemes: dict[str, str] = {}

    def tokens(self, text: str) -> str:
        """The morphemes of a text, joined by blanks."""
        if text not in self.morphemes:
            self.morphemes[text] = " ".join(self.mecab.morphs(text))
        return self.morphemes[text]

    def score(self, prediction: str, reference: str) -> float:
        """The final score of one prediction against one reference."""
        scores = self.rouge.get_scores(self.tokens(prediction), self.tokens(reference))[0]
        return 100 * mean(scores[name]["f"] for name in ("rouge-1", "rouge-2", "rouge-l"))

    def corpus_score(self, predictions: Sequence[str], rows: Sequence[Row]) -> float:
        """The mean over all rows and their three references."""
        pairs = zip(predictions, rows, strict=True)
        return mean(self.score(text, row[name]) for text, row in pairs for name in REFERENCES)


def bigrams(text: str) -> set[str]:
    """The character bigrams of a dialogue, its speakers' tags left out."""
    text = SPEAKER.sub("", text)
    return {text[i : i + 2] for i in range(len(text) - 1)}


def nearest_summaries(rows: Sequence[Row], train: Sequence[Row]) -> Iterator[str]:
    """For each row the summary of the train dialogue that is most like it (Jaccard index of character bigrams)."""
    bits: defaultdict[str, int] = defaultdict(lambda: 1 << len(bits))  # a set as an integer: fast to intersect

    def as_bits(text: str) -> int:
        return reduce(or_, (bits[bigram] for bigram in bigrams(text)))

    known = [as_bits(row["dialogue"]) for row in train]
    for row in rows:
        asked = as_bits(row["dialogue"])
        likeness = [(asked & other).bit_count() / (asked | other).bit_count() for other in known]
        yield train[likeness.index(max(likeness))]["summary"]


def sibling_scores(rows: Sequence[Row], scorer: Scorer) -> dict[str, float]:
    """How well the references of a row predict each other: the mean score for each file name."""
    pairs = list(permutations(REFERENCES, 2))
    return {row["fname"]: mean(scorer.score(row[a], row[b]) for a, b in pairs) for row in rows}


def lead(dialogue: str, lines: int) -> str:
    """The first lines of a dialogue as they stand, joined by a blank."""
    return " ".join(dialogue.split("\n")[:lines])


def describe(name: str, rows: Sequence[Row]) -> None:
    """Print the size of a split."""
    dialogues = [row["dialogue"] for row in rows]
    turns = [text.count("\n") + 1 for text in dialogues]
    characters = [len(text) for text in dialogues]
    speakers = Counter(len(set(SPEAKER.findall(text))) for text in dialogues)
    summaries = [row[key] for row in rows for key in row if key.startswith("summary")]
    print(f"{name}: {len(rows)} dialogues of {len({row['topic'] for row in rows})} topics")
    print(f"  turns {min(turns)}-{max(turns)}, mean {mean(turns):.1f}; speakers {dict(sorted(speakers.items()))}")
    print(f"  characters {min(characters)}-{max(characters)}, mean {mean(characters):.0f}")
    if summaries:
        print(f"  characters of a summary, mean {mean(map(len, summaries)):.0f}; distinct {len(set(summaries))}")


def main() -> None:
    train, dev, test = read("train.csv"), read("dev.csv"), read("test.csv")
    for name, rows in (("train", train), ("dev", dev), ("test", test)):
        describe(name, rows)
    scorer = Scorer()
    print("final scores on dev")
    print(f"  constant sentence    {scorer.corpus_score([CONSTANT] * len(dev), dev):.2f}")
    print(f"  nearest train copy   {scorer.corpus_score(list(nearest_summaries(dev, train)), dev):.2f}")
    for lines in (1, 2, 3):
        print(f"  lead {lines}               {scorer.corpus_score([lead(r['dialogue'], lines) for r in dev], dev):.2f}")
    siblings = sibling_scores(dev, scorer)
    print(f"  sibling references   {mean(siblings.values()):.2f}")
    print("sibling references by topic")
    topics = sorted({row["topic"] for row in dev})
    by_topic = {topic: mean(siblings[row["fname"]] for row in dev if row["topic"] == topic) for topic in topics}
    for topic in sorted(by_topic, key=lambda topic: by_topic[topic]):
        print(f"  {by_topic[topic]:5.1f}  {topic}")


if __name__ == "__main__":
    main()
