import csv
import hashlib
import io
import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.data.template import order_of, read_layout
from dialsum_cli.data.writing import Layout, check_output, open_submission
from dialsum_cli.errors import DialsumError, RequestError

ROWS = [("a", '안녕, "네"\n#Person1#'), ("b", ""), ("c", " x ")]


def written(path, layout=None):
    with open_submission(path, layout, overwrite=False) as submission:
        submission.write(ROWS[:1])
        submission.write(iter(ROWS[1:]))
        submission.write([])
    assert submission.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert submission.rows == 3
    return path


def test_csv_is_quoted_as_rfc_4180_has_it(tmp_path):
    content = written(tmp_path / "a.csv").read_bytes().decode()
    assert content == 'fname,summary\na,"안녕, ""네""\n#Person1#"\nb,\nc, x \n'
    assert list(csv.reader(io.StringIO(content, newline=""), strict=True))[1:] == [[*row] for row in ROWS]


def test_jsonl(tmp_path):
    lines = written(tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"fname": fname, "summary": text} for fname, text in ROWS]
    assert "안녕" in lines[0]


def test_parquet_in_several_writes(tmp_path):
    import pyarrow.parquet as pq

    layout = Layout(("n", "fname", "summary"), index="n", start=5)
    table = pq.read_table(written(tmp_path / "a.parquet", layout))
    assert table.column_names == ["n", "fname", "summary"]
    assert table.to_pylist() == [{"n": 5 + n, "fname": f, "summary": s} for n, (f, s) in enumerate(ROWS)]


@given(st.lists(st.tuples(st.text("a,\"\n'가 ", min_size=1), st.text("a,\"\n\r\t'가 ")), max_size=8))
def test_what_is_written_in_any_layout_is_what_a_csv_reader_finds(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("writing") / "a.csv"
    layout = Layout(("답", "", "id"), "id", "답", "", 1)
    with open_submission(path, layout, overwrite=False) as submission:
        submission.write(rows)
    found = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True))
    ended = [(fname, text.replace("\r\n", "\n").replace("\r", "\n")) for fname, text in rows]
    assert found == [["답", "", "id"], *([text, str(n), fname] for n, (fname, text) in enumerate(ended, 1))]


def test_nothing_is_left_of_what_was_interrupted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("before", "utf-8")

    def interrupted():
        yield from ROWS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_submission(path, overwrite=True) as submission:
        submission.write(interrupted())
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_text("utf-8") == "before"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "a.csv").symlink_to(tmp_path / "real" / "b.csv")
    written(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").is_symlink()
    assert (tmp_path / "real" / "b.csv").is_file()


@pytest.mark.parametrize("name", ["a.txt", "a", ".csv"])
def test_an_ending_that_says_no_format(tmp_path, name):
    with pytest.raises(RequestError, match=r"neither \.csv nor \.jsonl nor \.parquet"):
        check_output(tmp_path / name, overwrite=False)


def test_what_can_not_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    check_output(tmp_path / "new" / "folders" / "a.csv", overwrite=False)
    for name, message in (
        ("folder.csv", "folder.csv' is a folder"),
        ("file/a.csv", "/file' is no folder"),
        ("file/b/a.csv", "/file' is no folder"),
    ):
        with pytest.raises(RequestError, match=message) as raised:
            check_output(tmp_path / name, overwrite=True)
        assert raised.value.remedy
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.csv"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o555)
    with pytest.raises(RequestError, match="/folder' may not be written to"):
        check_output(tmp_path / "folder" / "new" / "a.csv", overwrite=False)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(DialsumError, match="can't write"),
        open_submission(tmp_path / "file" / "a.csv", overwrite=False),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, name):
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"no small file system can be mounted here: {mount.stderr.strip()}")
    try:
        with (
            pytest.raises(DialsumError, match="No space left on device") as raised,
            open_submission(tmp_path / name, overwrite=False) as submission,
        ):
            submission.write((f"d_{number}", os.urandom(500).hex()) for number in range(500))
        assert raised.value.remedy
        assert [*tmp_path.iterdir()] == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


TEMPLATES = [
    ("fname,summary\na,\n", Layout()),
    ("summary,fname\n", Layout(("summary", "fname"))),
    (",fname,summary\n1,a,\n", Layout(("", "fname", "summary"), index="", start=1)),
    ("Unnamed: 0,id,answer\n0,a,\n", Layout(("Unnamed: 0", "id", "answer"), "id", "answer", "Unnamed: 0")),
    ("id,summary\n", Layout(("id", "summary"), "id")),
    ("answer,fname\n", Layout(("answer", "fname"), "fname", "answer")),
    ("id,answer,index\na,x,7\n", Layout(("id", "answer", "index"), "id", "answer", "index", 7)),
]


@pytest.mark.parametrize(("text", "layout"), TEMPLATES)
def test_the_layout_of_a_template(tmp_path, text, layout):
    path = tmp_path / "sample.csv"
    path.write_text("\ufeff" + text, "utf-8")
    assert read_layout(path) == layout


def test_a_template_in_jsonl(tmp_path):
    path = tmp_path / "sample.jsonl"
    path.write_text('{"ID": "b", "답": ""}\n{"ID": "a", "답": ""}\n', "utf-8")
    layout = read_layout(path)
    assert layout == Layout(("ID", "답"), "ID", "답")
    assert order_of(path, layout, lambda: "ab", "data.csv") == {"b": 0, "a": 1}
    assert order_of(path, layout, lambda: "ba", "data.csv") is None
