"""Write the bundled corpus from its scenarios, or compare the files with what the scenarios write."""

import argparse
import csv
import io
import pkgutil
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from corpus import scenarios
from corpus.script import SCENARIOS, Scenario, Script

SEED = 20250611
SIZES = {"test": 120, "dev": 120, "train": 2000}  # the held-out splits choose first
REFERENCES = ("summary1", "summary2", "summary3")
BUNDLED = Path(__file__).resolve().parents[2] / "dialsum_cli" / "data" / "bundled"
MAX_ATTEMPTS = 1000  # for one conversation, before a scenario counts as exhausted


@dataclass(frozen=True)
class Conversation:
    """One row of the corpus."""

    fname: str
    topic: str
    script: Script


def load_scenarios() -> list[Scenario]:
    """Every scenario, in an order that depends on nothing but the topics."""
    for module in pkgutil.iter_modules(scenarios.__path__):
        import_module(f"{scenarios.__name__}.{module.name}")
    return sorted(SCENARIOS, key=lambda scenario: scenario.topic)


class Writer:
    """Draws scripts; no two share their scenario and slots, and no two splits share a reference summary."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.drawn: set[tuple[object, ...]] = set()
        self.split_of: dict[str, str] = {}  # reference summary -> the split that holds it

    def script(self, split: str, scenario: Scenario, n: int) -> Script:
        """The n-th script of a scenario in a split; raises ValueError when the scenario has no other one to give."""
        for attempt in range(MAX_ATTEMPTS):
            script = scenario.script(f"{self.seed}/{split}/{scenario.topic}/{n}/{attempt}")
            identity = (scenario.topic, *sorted(script.slots.items()))
            if identity in self.drawn or any(self.split_of.get(r, split) != split for r in script.references):
                continue
            self.drawn.add(identity)
            self.split_of.update(dict.fromkeys(script.references, split))
            return script
        raise ValueError(f"{scenario.topic}: no other conversation after {n} in {split}; give it more slots")

    def split(self, name: str, size: int) -> list[Conversation]:
        """One split: the scenarios take turns, and a seeded shuffle mixes them."""
        known = load_scenarios()
        shuffled = random.Random(f"{self.seed}/{name}")
        first = shuffled.randrange(len(known))
        turns = [(known[(first + i) % len(known)], i // len(known)) for i in range(size)]
        scripts = [(scenario.topic, self.script(name, scenario, n)) for scenario, n in turns]
        shuffled.shuffle(scripts)
        return [Conversation(f"{name}_{i}", topic, script) for i, (topic, script) in enumerate(scripts)]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A CSV file's text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def splits(seed: int = SEED) -> dict[str, list[Conversation]]:
    """The conversations of each split."""
    writer = Writer(seed)
    return {name: writer.split(name, size) for name, size in SIZES.items()}


def files(seed: int = SEED) -> dict[str, str]:
    """The corpus as it ships: file name -> text."""
    style = random.Random(f"{seed}/style")
    drawn = splits(seed)
    train, dev, test = drawn["train"], drawn["dev"], drawn["test"]
    return {
        "train.csv": table(
            ["fname", "dialogue", "summary", "topic"],
            ([c.fname, c.script.dialogue, style.choice(c.script.references), c.topic] for c in train),
        ),
        "dev.csv": table(
            ["fname", "dialogue", *REFERENCES, "topic"],
            ([c.fname, c.script.dialogue, *c.script.references, c.topic] for c in dev),
        ),
        "test.csv": table(["fname", "dialogue", "topic"], ([c.fname, c.script.dialogue, c.topic] for c in test)),
        "test_references.csv": table(["fname", *REFERENCES], ([c.fname, *c.script.references] for c in test)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m corpus.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    check = parser.parse_args().check
    stale = False
    for name, text in files().items():
        path = BUNDLED / name
        content = text.encode("utf-8")
        if path.exists() and path.read_bytes() == content:
            print(f"{name}: up to date")
            continue
        stale = True
        print(f"{name}: {'differs' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    if check and stale:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
