import csv
import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.data.records import read_records
from dialsum_cli.errors import DataError

HEADER = "fname,dialogue\n"


def read(path, columns=None, required=("fname", "dialogue"), limit=None):
    """The rows as (line, values), and the notes."""
    notes = []
    rows = [(record.line, record.values) for record in read_records(path, columns or {}, required, notes.append, limit)]
    return rows, notes


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def nfd(text):
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(HEADER + "a,x\n", [(2, "a", "x")], id="plain"),
        pytest.param("\ufeff" + HEADER + "a,x\n", [(2, "a", "x")], id="bom"),
        pytest.param(HEADER + "a,x", [(2, "a", "x")], id="no-final-newline"),
        pytest.param("fname,dialogue\r\na,x\r\nb,y\r\n", [(2, "a", "x"), (3, "b", "y")], id="crlf"),
        pytest.param('fname,dialogue\r\na,"x\r\ny"\r\nb,z\r\n', [(2, "a", "x\ny"), (4, "b", "z")], id="crlf-in-quotes"),
        pytest.param(HEADER + 'a,"x\ny\n\nz"\nb,w\n', [(2, "a", "x\ny\n\nz"), (6, "b", "w")], id="newlines-in-quotes"),
        pytest.param(HEADER + 'a,"he said ""no"", twice"\n', [(2, "a", 'he said "no", twice')], id="quotes-and-commas"),
        pytest.param(HEADER + 'a,x "y" z\n', [(2, "a", 'x "y" z')], id="quotes-in-a-bare-field"),
        pytest.param(HEADER + "\na,x\n\n\nb,y\n", [(3, "a", "x"), (6, "b", "y")], id="blank-lines"),
        pytest.param(HEADER + "a,x\u2028y\nb,z\n", [(2, "a", "x\u2028y"), (3, "b", "z")], id="line-separator"),
        pytest.param("dialogue,fname\nx,a\n", [(2, "a", "x")], id="other-order"),
        pytest.param(" fname , dialogue\na,x\n", [(2, "a", "x")], id="blanks-in-header"),
        pytest.param(",fname,dialogue\n0,a,x\n1,b,y\n", [(2, "a", "x"), (3, "b", "y")], id="index-column"),
        pytest.param(HEADER + f'a,"{"가" * 200_000}"\n', [(2, "a", "가" * 200_000)], id="over-csv-default-limit"),
    ],
)
def test_csv(tmp_path, content, expected):
    path = write(tmp_path / "빈 칸 [x]" / "대화 1.csv", content)
    records = read_records(path, {}, ("fname", "dialogue"), lambda message: None)
    assert [(record.line, record.text("fname"), record.text("dialogue")) for record in records] == expected


def test_reading_a_long_field_leaves_the_csv_module_as_it_was(tmp_path):
    before = csv.field_size_limit()
    read(write(tmp_path / "a.csv", HEADER + f"a,{'x' * 2 * before}\n"))
    assert csv.field_size_limit() == before


def test_files_that_are_read_at_the_same_time_are_closed_in_any_order(tmp_path):
    before = csv.field_size_limit()
    path = write(tmp_path / "a.csv", HEADER + f"a,x\nb,{'x' * 2 * before}\n")
    first, second = (read_records(path, {}, ("fname", "dialogue"), pytest.fail) for _ in range(2))
    next(first), next(second)
    first.close()
    assert len(next(second).text("dialogue")) == 2 * before
    second.close()
    assert csv.field_size_limit() == before


CSV_FAULTS = [
    ("", "line 1: empty", "header"),
    (b"\xef\xbb\xbf", "line 1: empty", "header"),
    ("\n\n", "line 1: empty", "header"),
    (HEADER + "a,x\nb,y,z\n", "line 3 (b): 3 fields where the header has 2", "double quotes"),
    (HEADER + 'a,"x\ny"\nb,y,z\n', "line 4 (b): 3 fields", "double quotes"),
    (HEADER + "a\n", "line 2 (a): 1 field where", "double quotes"),
    (",fname,dialogue\n0,a,x,y\n", "line 2 (a): 4 fields", "double quotes"),
    ("dialogue,fname\nx\n", "line 2: 1 field where", "double quotes"),
    (HEADER + 'a,x\nb,"y\nz\n', "line 3: unexpected end", "quotes of the row"),
    (HEADER + 'a,x\nb,"y"z\n', "line 3: ',' expected", "quotes of the row"),
    (HEADER + "a,x\nb,y\0z\n", "line 3: holds a NUL byte", "UTF-8"),
    ("fname\0,dialogue\n", "line 1: holds a NUL byte", "UTF-8"),
    ((HEADER + "a,x\nb,안녕하세요\n").encode("cp949"), "line 3: not UTF-8", "iconv -f CP949 -t UTF-8"),
    ((HEADER + "a,x\n" * 5000 + "b,안녕\n").encode("cp949"), "line 5002: not UTF-8", "iconv -f CP949"),
    ((HEADER + "a,안녕\n").encode("utf-16"), "line 1: not UTF-8", "iconv -f UTF-16 -t UTF-8"),
    (bytes(range(256)) * 5, "not UTF-8", "save it as text"),
    ("id,dialogue\na,x\n", "line 1: no column `fname`; there are id, dialogue", "--columns fname=id"),
    (
        "id,text\na,x\n",
        "line 1: no column `fname` and no `dialogue`; there are id, text",
        "--columns fname=id,dialogue=text",
    ),
    (",text,dialogue\na,x,y\n", "no column `fname`; there are (no name), text, dialogue", "--columns fname=NAME"),
    ("fname,my text\na,x\n", "no column `dialogue`", "--columns 'dialogue=my text'"),
    ("fname;dialogue\na;x\n", "no column `fname` and no `dialogue`; there are fname;dialogue", "commas"),
    ("fname\tdialogue\na\tx\n", "no column `fname`", "commas"),
    ("fname,dialogue,dialogue\na,x,y\n", "line 1: there is more than one column `dialogue`", "rename"),
    ("\n" + HEADER + "a,x\n", "line 1: empty", "header"),
]


@pytest.mark.parametrize(("content", "message", "remedy"), CSV_FAULTS)
def test_csv_faults_name_file_and_line(tmp_path, content, message, remedy):
    path = write(tmp_path / "a b.csv", content)
    with pytest.raises(DataError) as raised:
        read(path)
    assert str(raised.value).startswith(f"'{path}' line ")
    assert message in str(raised.value)
    assert remedy in raised.value.remedy
    assert "\n" not in str(raised.value) + raised.value.remedy


def test_a_row_of_columns_that_nobody_asked_for(tmp_path):
    with pytest.raises(DataError, match="line 2: 1 field where the header has 2"):
        read(write(tmp_path / "a.csv", "id,text\na\n"), required=())


def test_a_header_of_any_size_is_a_short_message(tmp_path):
    path = write(tmp_path / "a.csv", ",".join(f'"column\n{i}"' for i in range(10_000)) + "\n")
    with pytest.raises(DataError) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < len(str(path)) + 300


@pytest.mark.parametrize("file", ["text,dialogue,fname", "dialogue,text,fname"])
def test_a_mapped_column_wins_over_one_of_our_name_wherever_it_stands(tmp_path, file):
    values = {"text": "right", "dialogue": "wrong", "fname": "a"}
    path = write(tmp_path / "a.csv", f"{file}\n{','.join(values[name] for name in file.split(','))}\n")
    assert read(path, {"dialogue": "text"})[0] == [(2, {"fname": "a", "dialogue": "right"})]


def test_columns_may_be_swapped_and_shared(tmp_path):
    path = write(tmp_path / "a.csv", HEADER + "x,a\n")
    swapped = {"fname": "dialogue", "dialogue": "fname"}
    assert read(path, swapped)[0] == [(2, {"fname": "a", "dialogue": "x"})]
    assert read(path, {"summary": "dialogue"})[0] == [(2, {"fname": "x", "dialogue": "a", "summary": "a"})]


def test_decomposed_text_is_composed_with_a_note_also_within_limit_header_and_turns(tmp_path):
    path = write(tmp_path / "a.csv", nfd("번호,dialogue,다른\na,안녕,x\nb,abc,y\nc,안녕,z\n"))
    rows, notes = read(path, {"fname": "번호"}, limit=2)
    assert rows == [
        (2, {"fname": "a", "dialogue": "안녕", "다른": "x"}),
        (3, {"fname": "b", "dialogue": "abc", "다른": "y"}),
    ]
    assert notes == [f"'{path}': 1 rows held decomposed Unicode and were normalised to NFC"]
    turns = [{"speaker": nfd("철수"), "text": nfd("안녕")}]
    path = write(tmp_path / "a.jsonl", json.dumps({"fname": "a", "dialogue": turns}))
    rows, notes = read(path)
    assert rows == [(1, {"fname": "a", "dialogue": [{"speaker": "철수", "text": "안녕"}]})]
    assert len(notes) == 1


def test_composed_text_makes_no_note(tmp_path):
    assert read(write(tmp_path / "a.csv", HEADER + "a,안녕\n"))[1] == []


def test_limit_stops_before_the_first_fault(tmp_path):
    path = write(tmp_path / "a.csv", HEADER + "a,x\nb\n")
    assert read(path, limit=1)[0] == [(2, {"fname": "a", "dialogue": "x"})]
    with pytest.raises(DataError):
        read(path, limit=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{bad\n", "line 1: no JSON"),
        ('{"fname": "a", "dialogue": "x"}\n\n{"fname"\n', "line 3: no JSON"),
        ('{\n "fname": "a"}\n', "line 1: no JSON"),
        ("[1]\n", "line 1: no JSON object"),
        ('"text"\n', "line 1: no JSON object"),
        ("{}\n", "line 1: no column `fname` and no `dialogue`; there are none"),
        ('{"fname": "a", "dialogue": "x"}\n{"fname": "b"}\n', "line 2: no column `dialogue`; there are fname"),
        ('{"fname": "a", "dialogue": "\\ud800"}\n', "line 1: no JSON: 'utf-8' codec can't encode"),
        ('{"fname": ' + "1" * 5000 + ', "dialogue": "x"}\n', "line 1: no JSON"),
        ("[" * 100_000 + "\n", "line 1: no JSON"),
        ('{"fname": "a", "dialogue": "x\\u0000"}\n', "line 1: holds a NUL byte"),
        ('{"fname": "a", "dialogue": [{"text": "x\\u0000"}]}\n', "line 1: holds a NUL byte"),
        ('{"fname": "a", "dialogue": "x", "b\\u0000": 1}\n', "line 1: holds a NUL byte"),
    ],
)
def test_jsonl_faults_name_the_line(tmp_path, text, message):
    path = write(tmp_path / "a.jsonl", text)
    with pytest.raises(DataError) as raised:
        read(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_jsonl_with_bom_blank_lines_and_line_separators(tmp_path):
    path = write(tmp_path / "a.jsonl", '\ufeff{"fname": "a", "dialogue": "x\u2028y"}\n\n{"fname": 2, "dialogue": "z"}')
    assert read(path)[0] == [(1, {"fname": "a", "dialogue": "x\u2028y"}), (3, {"fname": 2, "dialogue": "z"})]


def test_jsonl_that_is_cp949(tmp_path):
    path = write(tmp_path / "a b.jsonl", '{"fname": "a"}\n{"dialogue": "안녕"}\n'.encode("cp949"))
    with pytest.raises(DataError, match="line 2: not UTF-8") as raised:
        read(path, required=())
    assert f"'{path}' > utf8.jsonl" in raised.value.remedy


@pytest.mark.parametrize("value", [True, {"a": 1}, ["x"]])
def test_what_is_no_text_is_refused_and_not_printed_as_python(tmp_path, value):
    path = write(tmp_path / "a.jsonl", json.dumps({"fname": "a", "dialogue": value}))
    (record,) = read_records(path, {}, ("fname", "dialogue"), lambda message: None)
    with pytest.raises(DataError, match=r"line 1 \(a\): `dialogue` is no text but of type"):
        record.text("dialogue")


@pytest.mark.parametrize(("value", "text"), [(None, ""), (float("nan"), ""), (7, "7"), ("a\r\nb\rc", "a\nb\nc")])
def test_what_is_text(tmp_path, value, text):
    path = write(tmp_path / "a.jsonl", json.dumps({"fname": "a", "dialogue": value}))
    (record,) = read_records(path, {}, ("fname", "dialogue"), lambda message: None)
    assert record.text("dialogue") == text
    assert record.text("no such column") == ""


def parquet(path, table):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)
    return path


def test_parquet(tmp_path):
    turns = [[{"speaker": "#Person1#", "text": nfd("안녕")}], None]
    path = parquet(tmp_path / "대화.parquet", {"fname": ["a", None], "dialogue": turns, "n": [1.5, float("nan")]})
    rows, notes = read(path)
    assert rows[0] == (1, {"fname": "a", "dialogue": [{"speaker": "#Person1#", "text": "안녕"}], "n": 1.5})
    assert rows[1][0] == 2
    assert rows[1][1]["fname"] is rows[1][1]["dialogue"] is None
    assert len(notes) == 1


def test_parquet_faults(tmp_path):
    import pyarrow as pa

    path = tmp_path / "a.parquet"
    with pytest.raises(DataError, match=r"line 1: no column `fname`; there are id, dialogue") as raised:
        read(parquet(path, {"id": ["a"], "dialogue": ["x"]}))
    assert "--columns fname=id" in raised.value.remedy
    twice = pa.table([["a"], ["x"], ["y"]], names=["fname", "dialogue", "dialogue"])
    with pytest.raises(DataError, match="more than one column `dialogue`"):
        read(parquet(path, twice))
    whole = parquet(path, {"fname": [str(i) for i in range(1000)], "dialogue": ["x"] * 1000}).read_bytes()
    for broken in (b"", b"PAR1", b"text", whole[: len(whole) // 2]):
        with pytest.raises(DataError, match="is no Parquet file") as raised:
            read(write(path, broken))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.csv", "there is no file"),
        ("nowhere.jsonl", "there is no file"),
        ("nowhere.parquet", "there is no file"),
        ("folder.csv", "is a folder"),
        ("file.txt", "is neither .csv nor .jsonl nor .parquet"),
        ("file", "is neither .csv nor .jsonl nor .parquet"),
        ("x" * 300 + ".csv", "can't read"),
    ],
)
def test_what_is_no_data_file(tmp_path, name, message):
    (tmp_path / "folder.csv").mkdir()
    for file in ("file.txt", "file"):
        write(tmp_path / file, "x")
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path / name)
    assert raised.value.exit_code == 2
    assert raised.value.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write(tmp_path / "a.csv", HEADER)
    path.chmod(0)
    with pytest.raises(DataError, match=r"can't read .*Permission denied"):
        read(path)


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(
            lambda text: unicodedata.normalize("NFC", text)
        )
    )
)
def test_whatever_csv_jsonl_and_parquet_hold_is_read_alike_with_the_line_where_it_stands(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("round trip", numbered=True)
    rows = [{"fname": f"f{i}", "dialogue": text} for i, text in enumerate(texts)]
    with (folder / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["fname", "dialogue"], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    parquet(folder / "a.parquet", {name: [row[name] for row in rows] for name in ("fname", "dialogue")})
    expected = [row["dialogue"].replace("\r\n", "\n").replace("\r", "\n") for row in rows]
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        records = list(read_records(folder / name, {}, ("fname", "dialogue"), pytest.fail))
        assert [record.text("dialogue") for record in records] == expected
    lines = (folder / "a.csv").read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for record in read_records(folder / "a.csv", {}, ("fname", "dialogue"), pytest.fail):
        assert lines[record.line - 1].startswith(f'"{record.text("fname")}",'.encode())
