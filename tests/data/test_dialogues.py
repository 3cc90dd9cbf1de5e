import json
import unicodedata

import pytest

from dialsum_cli.data.dialogues import Dialogue, read_dialogues, read_gold
from dialsum_cli.errors import DataError
from dialsum_cli.settings import BUNDLED

HEADER = "fname,dialogue\n"


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(("split", "rows", "references"), [("dev", 1, 3), ("train", 1, 1), ("test", 1, 0)])
def test_the_bundled_splits(split, rows, references):
    notes = []
    dialogues = read_dialogues(BUNDLED / f"{split}.csv", references=bool(references), note=notes.append)
    assert len(dialogues) > rows
    assert {len(dialogue.references) for dialogue in dialogues} == {references}
    assert len({dialogue.fname for dialogue in dialogues}) == len(dialogues)
    assert notes == []


def test_the_bundled_test_split_has_its_references_elsewhere():
    gold = read_gold(BUNDLED / "test_references.csv")
    assert list(gold) == [dialogue.fname for dialogue in read_dialogues(BUNDLED / "test.csv")]


def test_a_dialogue(tmp_path):
    path = write(
        tmp_path / "a.csv",
        "\ufefffname,dialogue,summary10,summary2,summary1,topic,score\r\n"
        'd_1," #Person1#: 네, ""네"".\r\n#Person2#: 아니요. ",열,둘,,여행 ,9\r\n',
    )
    notes = []
    assert read_dialogues(path, note=notes.append) == [
        Dialogue("d_1", '#Person1#: 네, "네".\n#Person2#: 아니요.', ("둘", "열"), "여행")
    ]
    assert notes == [f"'{path}': ignored the columns score"]


def test_an_index_column_is_ignored_with_a_note(tmp_path):
    notes = []
    path = write(tmp_path / "a.csv", ",fname,dialogue,Unnamed: 0\n0,a,x,0\n")
    assert read_dialogues(path, note=notes.append) == [Dialogue("a", "x")]
    assert notes == [f"'{path}': ignored the columns (no name), Unnamed: 0"]


def test_turns_are_joined(tmp_path):
    turns = [{"speaker": "#Person1#", "text": " 안녕\n하세요 "}, {"speaker": "영희", "text": "네", "time": 3}]
    path = write(tmp_path / "a.jsonl", json.dumps({"fname": 1, "dialogue": turns, "topic": None}) + "\n")
    assert read_dialogues(path) == [Dialogue("1", "#Person1#: 안녕 하세요\n영희: 네")]


FAULTS = [
    ("a.csv", HEADER + "a,x\na,y\n", "line 3 (a): fname stands already in line 2"),
    ("a.csv", 'fname,dialogue\r\na,"x\r\ny"\r\na,z\r\n', "line 4 (a): fname stands already in line 2"),
    ("a.csv", HEADER + "\n\na,x\n\na,y\n", "line 6 (a): fname stands already in line 4"),
    ("a.csv", HEADER + "가,x\n" + unicodedata.normalize("NFD", "가") + ",y\n", "line 3 (가): fname stands already"),
    ("a.csv", HEADER + "a,x\n,y\n", "line 3: fname is empty"),
    ("a.csv", HEADER + 'a,"x\ny"\n  ,y\n', "line 4: fname is empty"),
    ("a.csv", HEADER + "a,x\nb,\n", "line 3 (b): the dialogue is empty"),
    ("a.csv", HEADER + 'a,x\nb," \n\u00a0"\n', "line 3 (b): the dialogue is empty"),
    ("a.csv", HEADER + '"a\nb",\n', "line 2 (a b): the dialogue is empty"),
    ("a.csv", HEADER, "has no rows"),
    ("a.jsonl", "", "has no rows"),
    (
        "a.jsonl",
        '{"fname": 1, "dialogue": "x"}\n\n{"fname": "1", "dialogue": "y"}\n',
        "line 3 (1): fname stands already",
    ),
    ("a.jsonl", '{"fname": null, "dialogue": "x"}\n', "line 1: fname is empty"),
    ("a.jsonl", '{"fname": ["a"], "dialogue": "x"}\n', "line 1: `fname` is no text"),
    ("a.jsonl", '{"fname": "a", "dialogue": null}\n', "line 1 (a): the dialogue is empty"),
    ("a.jsonl", '{"fname": "a", "dialogue": []}\n', "line 1 (a): the dialogue is empty"),
    ("a.jsonl", '{"fname": "a", "dialogue": [{"speaker": "A", "text": " "}]}\n', "line 1 (a): the dialogue is empty"),
    ("a.jsonl", '{"fname": "a", "dialogue": [{"speaker": "A"}]}\n', "line 1 (a): a turn of the dialogue lacks"),
    ("a.jsonl", '{"fname": "a", "dialogue": ["A: x"]}\n', "line 1 (a): a turn of the dialogue lacks"),
    ("a.jsonl", '{"fname": "a", "dialogue": {"A": "x"}}\n', "line 1 (a): `dialogue` is no text"),
    ("a.jsonl", '{"fname": "a", "dialogue": "x", "summary": ["y"]}\n', "line 1 (a): `summary` is no text"),
]


@pytest.mark.parametrize(("name", "text", "message"), FAULTS)
def test_faults_name_file_line_and_fname(tmp_path, name, text, message):
    path = write(tmp_path / name, text)
    with pytest.raises(DataError) as raised:
        read_dialogues(path)
    assert str(raised.value).startswith(f"'{path}' {message}")
    assert raised.value.exit_code == 2
    assert raised.value.remedy


def test_references_are_asked_for(tmp_path):
    path = write(tmp_path / "a.csv", "fname,dialogue,summary\na,x,s\nb,y, \n")
    assert [dialogue.references for dialogue in read_dialogues(path)] == [("s",), ()]
    for read in (lambda: read_dialogues(path, references=True), lambda: read_gold(path)):
        with pytest.raises(DataError, match=r"line 3 \(b\): there is no summary to compare with"):
            read()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,x,s,t\nb,y,u,\n", r"line 3 \(b\): 1 summary where the first row has 2"),
        ("a,x,s,\nb,y,u,v\n", r"line 3 \(b\): 2 summaries where the first row has 1"),
        ("a,x,s,t\nb,y,u,. .\n", r"line 3 \(b\): a summary to compare with has only periods"),
        ("a,x,s,t\nb,y,u,.\u3000.\n", r"line 3 \(b\): a summary to compare with has only periods"),
        ("a,x,,\n", r"line 2 \(a\): there is no summary to compare with"),
    ],
)
def test_what_is_scored_by_has_equal_references(tmp_path, rows, message):
    path = write(tmp_path / "a.csv", "fname,dialogue,summary1,summary2\n" + rows)
    for read in (lambda: read_dialogues(path, references="equal"), lambda: read_gold(path)):
        with pytest.raises(DataError, match=message):
            read()


def test_limit(tmp_path):
    path = write(tmp_path / "a.csv", HEADER + "a,x\nb,y\na,z\n")
    assert [dialogue.fname for dialogue in read_dialogues(path, limit=2)] == ["a", "b"]


def test_columns(tmp_path):
    path = write(tmp_path / "a.csv", "id,글,답\na,x,s\n")
    columns = {"fname": "id", "dialogue": "글", "summary": "답"}
    assert read_dialogues(path, columns=columns) == [Dialogue("a", "x", ("s",))]
    assert read_gold(path, columns=columns) == {"a": ("s",)}


def test_gold_needs_no_dialogues_and_as_many_summaries_for_each(tmp_path):
    path = write(tmp_path / "a.csv", "fname,summary1,summary2\na,s,t\nb,u,v\n")
    assert read_gold(path) == {"a": ("s", "t"), "b": ("u", "v")}
    write(path, "fname,summary1,summary2\na,s,t\nb,,u\n")
    with pytest.raises(DataError, match=r"line 3 \(b\): 1 summary where the first row has 2"):
        read_gold(path)
    write(path, "fname,summary\n")
    with pytest.raises(DataError, match="has no rows"):
        read_gold(path)
    write(path, "fname,summary\na,s\na,t\n")
    with pytest.raises(DataError, match=r"line 3 \(a\): fname stands already in line 2"):
        read_gold(path)


def test_the_real_data_set(shared_data):
    notes = []
    for split, rows in (("train", 2500), ("dev", 499), ("test", 499)):
        path = shared_data / "korean-dialogsum" / f"{split}.csv"
        dialogues = read_dialogues(path, references=split != "test", note=notes.append)
        assert len(dialogues) == rows
        assert all(dialogue.text.startswith("#Person") for dialogue in dialogues)
    assert notes == []
