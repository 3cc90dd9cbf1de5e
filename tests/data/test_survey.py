import hashlib

import pytest

from dialsum_cli.data import dialogues as module
from dialsum_cli.data.dialogues import read_dialogues, stream_dialogues, survey
from dialsum_cli.errors import DataError
from dialsum_cli.settings import BUNDLED


@pytest.mark.parametrize("split", ["train", "dev", "test"])
@pytest.mark.parametrize("limit", [None, 7])
def test_a_stream_holds_what_is_read_at_once(split, limit):
    path = BUNDLED / f"{split}.csv"
    whole = read_dialogues(path, limit=limit)
    assert [*stream_dialogues(path, limit=limit)] == whole
    facts = survey(path, limit=limit)
    assert (facts.path, facts.rows) == (str(path), len(whole))
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fname,dialogue\na,x\nb,y\na,z\n", r"line 4 \(a\): fname stands already in line 2"),
        ("fname,dialogue\na,x\n,y\n", "line 3: fname is empty"),
        ("fname,dialogue\na,x\nb,\n", r"line 3 \(b\): the dialogue is empty"),
        ("fname,dialogue\n", "has no rows"),
    ],
)
def test_a_survey_finds_the_faults_that_reading_finds(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text, "utf-8")
    for read in (survey, read_dialogues):
        with pytest.raises(DataError, match=message):
            read(path)


def test_two_ids_of_one_hash_are_no_repetition(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("fname,dialogue\na,x\nb,y\n", "utf-8")
    hashed = []
    monkeypatch.setattr(module, "hash", lambda text: hashed.append(text) or 7, raising=False)
    assert survey(path).rows == 2
    assert hashed == ["a", "b"]


def test_notes_are_told_once(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("fname,dialogue,score\na,x,1\nb,y,2\n", "utf-8")
    notes = []
    survey(path, note=notes.append)
    assert notes == [f"'{path}': ignored the columns score"]
