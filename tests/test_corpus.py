import csv
import random
import re
from statistics import mean

import pytest
from corpus import phrases
from corpus.build import BUNDLED, REFERENCES, SIZES, files, load_scenarios, splits
from corpus.checks import CONSTANT, Scorer, nearest_summaries, read, sibling_scores
from corpus.language import attach, fill
from corpus.script import MAX_TURNS, MIN_TURNS, Script

LINE = re.compile(r"#Person[1-4]#: \S.*")
TAG = re.compile(r"#Person[1-4]#|#(?:PhoneNumber|Address|DateOfBirth|PassportNumber|SSN|CardNumber|CarNumber|Email)#")
VOWEL = ("는", "가", "를", "와", "로", "예요")
RIEUL = ("은", "이", "을", "과", "로", "이에요")
CONSONANT = ("은", "이", "을", "과", "으로", "이에요")
# read aloud: "일", "삼", "…번호", "이메일", "에스에스엔"
ENDINGS = {"#Person1#": RIEUL, "#Person3#": CONSONANT, "#Email#": RIEUL, "#SSN#": CONSONANT}
PARTICLE_AFTER_TAG = re.compile(r"(#\w+#)(은|는|이에요|예요|이|가|을|를|과|와|으로|로)(?=[\s,.?!])")


@pytest.fixture(scope="module")
def drawn():
    return splits()


@pytest.fixture(scope="module")
def rows():
    return {name: read(f"{name}.csv") for name in (*SIZES, "test_references")}


@pytest.fixture(scope="module")
def scorer():
    return Scorer()


@pytest.fixture(scope="module")
def texts(rows):
    """Every dialogue and every summary that ships."""
    return [
        row[key] for split in rows.values() for row in split for key in row if key.startswith(("dialogue", "summary"))
    ]


def test_generator_writes_the_shipped_files():
    written = files()
    assert sorted(written) == sorted(path.name for path in BUNDLED.glob("*.csv"))
    differing = [name for name, text in written.items() if (BUNDLED / name).read_bytes() != text.encode("utf-8")]
    assert not differing, "run `python -m corpus.build` in examples/"


def test_another_seed_writes_another_corpus():
    assert files(seed=1)["dev.csv"] != files(seed=2)["dev.csv"]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("train", ["fname", "dialogue", "summary", "topic"]),
        ("dev", ["fname", "dialogue", *REFERENCES, "topic"]),
        ("test", ["fname", "dialogue", "topic"]),
        ("test_references", ["fname", *REFERENCES]),
    ],
)
def test_files(rows, name, columns):
    split = name.removesuffix("_references")
    content = (BUNDLED / f"{name}.csv").read_bytes()
    assert next(csv.reader([content.decode("utf-8").split("\n", 1)[0]])) == columns
    assert b"\r" not in content
    assert [row["fname"] for row in rows[name]] == [f"{split}_{i}" for i in range(SIZES[split])]
    assert all(row[column].strip() == row[column] != "" for row in rows[name] for column in columns)


def test_sizes(rows):
    assert len(rows["train"]) >= 1500
    assert len(rows["dev"]) == len(rows["test"]) == 120
    assert len({row["topic"] for row in rows["train"]}) >= 24
    assert {row["topic"] for row in rows["dev"]} == {row["topic"] for row in rows["test"]}


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_dialogues(rows, name):
    dialogues = [row["dialogue"] for row in rows[name]]
    turns = [dialogue.split("\n") for dialogue in dialogues]
    assert all(LINE.fullmatch(line) for lines in turns for line in lines)
    assert all(MIN_TURNS <= len(lines) <= MAX_TURNS for lines in turns)
    assert mean(map(len, turns)) >= 8
    assert mean(map(len, dialogues)) >= 300
    for lines in turns:
        speakers = list(dict.fromkeys(line[:9] for line in lines))
        assert speakers == [f"#Person{n}#" for n in range(1, len(speakers) + 1)]
        assert 2 <= len(speakers) <= 4
    assert {len({line[:9] for line in lines}) for lines in turns} >= {2, 3}


def test_every_private_tag_occurs(texts):
    found = {tag for text in texts for tag in TAG.findall(text)}
    assert found >= {f"#{name}#" for name in (
        "PhoneNumber", "Address", "DateOfBirth", "PassportNumber", "SSN", "CardNumber", "CarNumber", "Email"
    )}  # fmt: skip


def test_tags_are_well_formed(texts):
    assert not [text for text in texts if "#" in TAG.sub("", text)]


def test_templates_are_filled(texts):
    assert not [text for text in texts if "{" in text or "}" in text or "  " in text]


def test_particles_agree_with_the_tags(texts):
    found = [match for text in texts for match in PARTICLE_AFTER_TAG.finditer(text)]
    assert len(found) > 3000
    assert not [match.group() for match in found if match[2] not in ENDINGS.get(match[1], VOWEL)]


def test_summaries_name_only_speakers_of_their_dialogue(rows):
    references = {row["fname"]: row for row in rows["test_references"]}
    for row in (*rows["train"], *rows["dev"], *(row | references[row["fname"]] for row in rows["test"])):
        for key in row:
            if key.startswith("summary"):
                assert set(TAG.findall(row[key])) <= set(TAG.findall(row["dialogue"])), row["fname"]
                assert row[key].endswith("다."), row["fname"]


def test_references_differ(rows):
    for row in (*rows["dev"], *rows["test_references"]):
        assert len({row[name] for name in REFERENCES}) == 3


def test_splits_share_no_combination_and_no_summary(drawn):
    seen = set()
    for name in SIZES:
        combinations = [(c.topic, tuple(sorted(c.script.slots.items()))) for c in drawn[name]]
        summaries = {summary for c in drawn[name] for summary in c.script.references}
        assert len(set(combinations)) == len(combinations)
        assert seen.isdisjoint(combinations)
        assert seen.isdisjoint(summaries)
        seen.update(combinations, summaries)


def test_no_dialogue_occurs_twice(rows):
    dialogues = [row["dialogue"] for name in SIZES for row in rows[name]]
    assert len(set(dialogues)) == len(dialogues)


@pytest.mark.parametrize("scenario", load_scenarios(), ids=lambda scenario: scenario.topic)
def test_scenarios_keep_their_promises(scenario):
    for seed in range(200):
        script = scenario.script(f"promise/{seed}")
        spoken = list(dict.fromkeys(line[:9] for line in script.dialogue.split("\n")))
        assert spoken == [f"#Person{n}#" for n in range(1, len(spoken) + 1)]


@pytest.mark.parametrize("bank", ["GREETINGS_FORMAL", "GREETINGS_CASUAL", "FAREWELLS_FORMAL", "FAREWELLS_CASUAL"])
def test_greetings_and_farewells_leave_the_second_speaker_last(bank):
    entries = getattr(phrases, bank)
    assert len(entries) >= 20
    assert all(len(entry) == 2 for entry in entries)


@pytest.mark.parametrize("bank", ["DETOURS_FORMAL", "DETOURS_CASUAL"])
def test_detours_leave_the_second_speaker_last(bank):
    entries = [entry for theme in getattr(phrases, bank).values() for entry in theme]
    assert len(entries) >= 35
    assert all(len(entry) in (2, 4) for entry in entries)


class TestScript:
    def test_nobody_speaks_twice_in_a_row(self):
        script = Script(random.Random(0))
        script.say("A", "안녕하세요.")
        with pytest.raises(ValueError, match="twice in a row"):
            script.say("A", "저예요.")

    @pytest.mark.parametrize("turns", [MIN_TURNS - 1, MAX_TURNS + 1])
    def test_number_of_turns(self, turns):
        script = Script(random.Random(0), references=["하나.", "둘.", "셋."])
        script.lines = [("AB"[n % 2], "네.") for n in range(turns)]
        with pytest.raises(ValueError, match=f"{turns} turns"):
            script.check()

    def test_equal_references(self):
        script = Script(random.Random(0), lines=[("A", "네."), ("B", "네.")])
        script.refer(["같다."], ["같다."], ["다르다."])
        with pytest.raises(ValueError, match="three different"):
            script.check()

    def test_a_slot_unlike_another(self):
        for seed in range(20):
            script = Script(random.Random(seed))
            assert script.slot("old", "월", "화") != script.slot("new", "월", "화", unlike="old")


@pytest.mark.parametrize(
    ("text", "particle", "expected"),
    [
        ("수진", "은", "수진은"),
        ("지영", "아", "지영아"),
        ("민수", "아", "민수야"),
        ("민수", "이", "민수가"),
        ("서울", "으로", "서울로"),
        ("부산", "으로", "부산으로"),
        ("제주", "으로", "제주로"),
        ("의사", "이에요", "의사예요"),
        ("학생", "이에요", "학생이에요"),
        ("어제", "인데", "어젠데"),
        ("오늘", "인데", "오늘인데"),
        ("#Person1#", "은", "#Person1#은"),
        ("#Person1#", "으로", "#Person1#로"),
        ("#Person2#", "을", "#Person2#를"),
        ("#Person3#", "과", "#Person3#과"),
        ("#Person3#", "으로", "#Person3#으로"),
        ("#Person4#", "이", "#Person4#가"),
        ("#PhoneNumber#", "으로", "#PhoneNumber#로"),
        ("#SSN#", "을", "#SSN#을"),
        ("#Email#", "으로", "#Email#로"),
        ("KTX", "을", "KTX를"),
        ("ATM", "이", "ATM이"),
        ("PT", "을", "PT를"),
        ("URL", "으로", "URL로"),
        ("Kevin", "은", "Kevin은"),
        ("Sophie", "과", "Sophie와"),
        ("Parker", "이", "Parker가"),
        ("3층 301", "으로", "3층 301로"),
        ("6", "이나", "6이나"),
        ("'노을'", "을", "'노을'을"),
    ],
)
def test_attach(text, particle, expected):
    assert attach(text, particle) == expected


def test_attach_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match="no particle"):
        attach("...", "은")


def test_fill():
    values = {"A": "#Person1#", "B": "#Person2#", "city": "서울"}
    assert fill("{A}{은} {B}{과} {city}{으로} 갑니다.", values) == "#Person1#은 #Person2#와 서울로 갑니다."


def test_fill_refuses_an_unknown_name():
    with pytest.raises(KeyError, match="neither a slot nor a particle"):
        fill("{city}{은}", {})


class TestNotTrivial:
    """Summaries that take no reading score low on dev, and its three references are neither alike nor unlike."""

    def test_constant_sentence(self, rows, scorer):
        assert scorer.corpus_score([CONSTANT] * len(rows["dev"]), rows["dev"]) <= 35

    def test_summary_of_the_nearest_train_dialogue(self, rows, scorer):
        copies = list(nearest_summaries(rows["dev"], rows["train"]))
        assert scorer.corpus_score(copies, rows["dev"]) <= 60

    def test_sibling_references(self, rows, scorer):
        assert 45 <= mean(sibling_scores(rows["dev"], scorer).values()) <= 75
