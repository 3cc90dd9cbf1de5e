import csv
import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.data.dialogues import read_gold, read_gold_dialogues
from dialsum_cli.data.submissions import align, read_submission
from dialsum_cli.data.writing import write_submission
from dialsum_cli.errors import DataError, RequestError


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_an_empty_summary_is_read_and_left_to_the_score(tmp_path):
    path = write(tmp_path / "a.csv", ',fname,summary,dialogue\n0,a," x ",d\n1,b,,d\n')
    assert read_submission(path) == {"a": "x", "b": ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,summary\na,x\n", "line 1: no column `fname`; there are id, summary"),
        ("fname,answer\na,x\n", "line 1: no column `summary`; there are fname, answer"),
        ("fname,summary\na,x, y\n", r"line 2 \(a\): 3 fields where the header has 2"),
        ("fname,summary\na,x\nb,y\na,z\n", r"line 4 \(a\): fname stands already in line 2"),
        ("fname,summary\n,x\n", "line 2: fname is empty"),
        ("fname,summary\n", "has no rows"),
        ("", "line 1: empty"),
    ],
)
def test_faults(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_submission(write(tmp_path / "a.csv", text))


@pytest.mark.parametrize("read", [read_submission, read_gold, read_gold_dialogues])
@pytest.mark.parametrize("name", ["preds/sub", "preds/nothing", "preds/x.tsv", "preds/x:test"])
def test_a_folder_is_no_data_set_of_the_hub_nor_are_predictions(tmp_path, monkeypatch, read, name):
    (tmp_path / "preds" / "sub").mkdir(parents=True)
    write(tmp_path / "preds" / "sub" / "test.csv", "fname,summary\na,NA\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="is a folder" if name == "preds/sub" else "is neither|no data set either"):
        read(name)


def test_columns_may_speak_of_the_gold_alone(tmp_path):
    path = write(tmp_path / "a.csv", "id,summary\na,x\n")
    assert read_submission(path, columns={"fname": "id", "dialogue": "text"}) == {"a": "x"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("id_header.csv", "line 1: no column `fname`; there are id, summary"),
        ("unescaped_commas.csv", r"line \d+ \(test_\d+\): \d fields where the header has 2"),
        ("repetition_penalty_5.csv", None),
        ("tags_replaced_by_roles.csv", None),
    ],
)
def test_files_that_were_handed_in(shared_data, name, message):
    path = shared_data / "malformed" / name
    if message is None:
        assert read_submission(path)
        return
    with pytest.raises(DataError, match=message) as raised:
        read_submission(path)
    assert raised.value.remedy


def test_align_joins_by_fname_and_never_by_order():
    assert align("p.csv", {"b": "2", "a": "1"}, ["a", "b"], "g.csv") == ["1", "2"]


@pytest.mark.parametrize(
    ("summaries", "gold", "message"),
    [
        ("a", "ab", "'p.csv' lacks 1 id: b ('g.csv')"),
        ("abc", "a", "'p.csv' has 2 ids: b, c that the gold lacks ('g.csv')"),
        ("x", "abcde", "'p.csv' lacks 5 ids: a, b, c and 2 more and has 1 id: x that the gold lacks ('g.csv')"),
    ],
)
def test_ids_that_only_one_file_has(summaries, gold, message):
    with pytest.raises(DataError) as raised:
        align("p.csv", dict.fromkeys(summaries, ""), gold, "g.csv")
    assert str(raised.value) == message


def test_writing_twice_needs_overwrite(tmp_path):
    path = tmp_path / "빈 칸" / "제출 [draft].csv"
    digest = write_submission(path, [("a", "x")], overwrite=False)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    with pytest.raises(RequestError, match="exists already"):
        write_submission(path, [("a", "y")], overwrite=False)
    assert read_submission(path) == {"a": "x"}
    assert write_submission(path, [("a", "y")], overwrite=True) != digest
    assert read_submission(path) == {"a": "y"}


printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(st.dictionaries(printable.filter(str.strip), st.text(st.sampled_from('가a,"\n ;#\t'), max_size=20), min_size=1))
def test_what_is_written_is_what_a_csv_reader_finds(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("submission") / "a.csv"
    write_submission(path, rows.items(), overwrite=False)
    found = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True))
    assert found == [["fname", "summary"], *map(list, rows.items())]
