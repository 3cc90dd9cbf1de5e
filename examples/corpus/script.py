"""A script: the dialogue, its slots and its reference summaries, while a scenario writes them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from corpus import phrases
from corpus.language import fill

LETTERS = "ABCD"
MIN_TURNS, MAX_TURNS = 2, 20
COURTESY = 0.75  # how often people greet and say goodbye


@dataclass
class Script:
    """What a scenario writes into; every choice is drawn from `random`, so that a seed decides all."""

    random: random.Random
    speakers: str = LETTERS  # in the order of their tags
    slots: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    themes: set[str] = field(default_factory=set)  # of the detours taken so far

    @property
    def values(self) -> dict[str, str]:
        """The slots and the speakers' tags: what a template may name."""
        return self.slots | {letter: f"#Person{n}#" for n, letter in enumerate(self.speakers, 1)}

    @property
    def dialogue(self) -> str:
        """The lines as the corpus writes them, each with its speaker's tag."""
        return "\n".join(f"{self.values[speaker]}: {text}" for speaker, text in self.lines)

    def slot(self, name: str, *choices: str, unlike: str = "") -> str:
        """Draw the value of a slot; `unlike` names a slot whose value it must differ from."""
        allowed = [choice for choice in choices if choice != self.slots.get(unlike)]
        self.slots[name] = self.random.choice(allowed)
        return self.slots[name]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    def say(self, speaker: str, *variants: str) -> None:
        """One turn of speaker A, B, C or D: one of the variants, its slots filled in."""
        text = fill(self.random.choice(variants), self.values)
        if self.lines and self.lines[-1][0] == speaker:
            raise ValueError(f"{speaker} speaks twice in a row: {text!r}")
        self.lines.append((speaker, text))

    def exchange(self, *variants: Sequence[tuple[str, str]]) -> None:
        """Several turns that belong together: one of the variants, each a list of (speaker, text)."""
        for speaker, text in self.random.choice(variants):
            self.say(speaker, text)

    def greet(self, first: str, second: str, formal: bool = True) -> None:
        """Mostly open with a greeting of two turns, after which `second` has spoken last; some people skip it."""
        if self.chance(COURTESY):
            self._bank(phrases.GREETINGS_FORMAL if formal else phrases.GREETINGS_CASUAL, first, second)

    def detour(self, first: str, second: str, formal: bool = True) -> None:
        """Two to four turns of small talk that belong in no summary; `second` speaks last."""
        detours = phrases.DETOURS_FORMAL if formal else phrases.DETOURS_CASUAL
        theme = self.random.choice([theme for theme in detours if theme not in self.themes])
        self.themes.add(theme)
        self._bank(detours[theme], first, second)

    def farewell(self, first: str, second: str, formal: bool = True) -> None:
        """Mostly close with thanks and goodbyes, `first` speaking first; some people skip them."""
        if self.chance(COURTESY):
            self._bank(phrases.FAREWELLS_FORMAL if formal else phrases.FAREWELLS_CASUAL, first, second)

    def _bank(self, bank: Sequence[Sequence[str]], first: str, second: str) -> None:
        for n, text in enumerate(self.random.choice(bank)):
            self.say(second if n % 2 else first, text)

    def refer(self, *styles: Sequence[str]) -> None:
        """The reference summaries: exactly three styles, each a list of variants of which one is drawn."""
        if len(styles) != 3 or self.references:
            raise ValueError("a scenario gives its three styles of reference once")
        self.references = [fill(self.random.choice(variants), self.values) for variants in styles]

    def check(self) -> None:
        """Raise ValueError where a finished script breaks the corpus's promises."""
        if not MIN_TURNS <= len(self.lines) <= MAX_TURNS:
            raise ValueError(f"{len(self.lines)} turns: {self.lines}")
        if len(set(self.references)) != 3:
            raise ValueError(f"three different references are needed: {self.references}")


@dataclass(frozen=True)
class Scenario:
    """One kind of conversation: its topic and the function that writes one script of it."""

    topic: str
    write: Callable[[Script], None]

    def script(self, seed: str) -> Script:
        """The script of a seed; raises ValueError where it breaks the corpus's promises."""
        script = Script(random.Random(seed))
        self.write(script)
        appearance = "".join(dict.fromkeys(speaker for speaker, _ in script.lines))
        if not LETTERS.startswith(appearance):  # tags count the speakers as they appear, which only now is known
            script = Script(random.Random(seed), speakers=appearance)
            self.write(script)
        script.check()
        return script


SCENARIOS: list[Scenario] = []


def scenario(topic: str) -> Callable[[Callable[[Script], None]], Callable[[Script], None]]:
    """Register a function as the scenario of this topic."""

    def register(write: Callable[[Script], None]) -> Callable[[Script], None]:
        if any(known.topic == topic for known in SCENARIOS):
            raise ValueError(f"two scenarios share the topic {topic}")
        SCENARIOS.append(Scenario(topic, write))
        return write

    return register
