"""What people hand to `dialsum score`: harmless oddities score the same, faults get one line and an exit code."""

import csv
import io
import json
import unicodedata

import pytest

from dialsum_cli.cli import score
from dialsum_cli.command import execute
from dialsum_cli.settings import ScoreSettings

GOLD = [
    (
        "dev_0",
        '#Person1#: 도서관 자리,\n"3.5층" 있나요?\n#Person2#: 네.',
        "#Person1#은 #Person2#에게 도서관 자리를 묻는다.",
    ),
    ("dev_1", "#Person1#: 열이 나요.\n#Person2#: 약을 드세요.", "#Person2#는 #Person1#에게 약을 권한다."),
    ("dev_2", "#Person1#: 주말에 가요.\n#Person2#: 좋아요.", "#Person1#과 #Person2#는 여행 계획을 세운다."),
]
SYSTEM = [
    ("dev_0", "#Person1#은 도서관,\n자리를 묻는다."),
    ("dev_1", "약을 권한다."),
    ("dev_2", "#Person2#는 여행을 간다."),
]
HEADER = ["fname", "dialogue", "summary"]


def table(header, rows, **options):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, **{"lineterminator": "\n", **options})
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


CLEAN, CLEAN_GOLD = table(["fname", "summary"], SYSTEM), table(HEADER, GOLD)


@pytest.fixture
def run(tmp_path, capsys):
    """(predictions, gold) -> exit code, the result or None, standard error; a str is written as UTF-8."""

    def write(name, content):
        path = tmp_path / name
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run(predictions=CLEAN, gold=CLEAN_GOLD, names=("p.csv", "g.csv"), **given):
        files = [write(name, content) for name, content in zip(names, (predictions, gold), strict=True)]
        code = execute(ScoreSettings, score, {"files": files, **given}, as_json=True, debug=False)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out) if out else None, err

    return run


@pytest.fixture
def expected(run):
    return run(names=("clean.csv", "clean_gold.csv"))[1]["systems"][0]["final_score"]


JSONL = "\n".join(json.dumps(dict(zip(["fname", "summary"], row, strict=True)), ensure_ascii=False) for row in SYSTEM)


@pytest.mark.parametrize(
    ("files", "note"),
    [
        ({"predictions": table(["fname", "summary"], SYSTEM[::-1])}, ""),
        ({"gold": table(HEADER, [GOLD[1], GOLD[2], GOLD[0]])}, ""),
        ({"predictions": unicodedata.normalize("NFD", CLEAN)}, "3 rows held decomposed Unicode"),
        ({"gold": unicodedata.normalize("NFD", CLEAN_GOLD)}, "3 rows held decomposed Unicode"),
        ({"predictions": CLEAN.encode("utf-8-sig"), "gold": CLEAN_GOLD.encode("utf-8-sig")}, ""),
        ({"predictions": CLEAN.replace("\n", "\r\n"), "gold": CLEAN_GOLD.replace("\n", "\r\n")}, ""),
        ({"predictions": table(["", "fname", "summary"], [(i, *row) for i, row in enumerate(SYSTEM)])}, ""),
        ({"predictions": table(["summary", "fname"], [row[::-1] for row in SYSTEM])}, ""),
        ({"predictions": table(["id", "summary"], SYSTEM), "gold": CLEAN_GOLD.replace("fname", "id", 1),
          "columns": "fname=id"}, ""),
        ({"predictions": table(["id", "답"], SYSTEM), "columns": "fname=id,summary=답"},
         "'g.csv' has no column `답` and goes by its own `summary`"),
        ({"gold": table(["id", "글", "요약"], GOLD), "columns": "fname=id,summary=요약,dialogue=글"},
         "'p.csv' has no column `id` and goes by its own `fname`"),
        ({"predictions": table(["fname", unicodedata.normalize("NFD", "답")], SYSTEM), "columns": "summary=답"}, ""),
        ({"gold": table(HEADER, [(row[0], row[1] + "가" * 200_000, row[2]) for row in GOLD])}, ""),
        ({"gold": table(["fname", "summary"], [(row[0], row[2]) for row in GOLD])}, ""),
        ({"predictions": CLEAN.rstrip("\n")}, ""),
        ({"predictions": CLEAN + "\n\n"}, ""),
        ({"predictions": JSONL, "names": ("p.jsonl", "g.csv")}, ""),
        ({"names": ("빈 칸/../예측 [초안].csv", "정답 파일.csv")}, ""),
    ],
    ids=["row order", "gold order", "NFD", "NFD gold", "BOM", "CRLF in quotes", "index column", "column order", "id",
         "columns of the predictions", "columns of the gold", "a column in NFD",
         "a field over csv's limit", "no dialogues", "no last line feed", "blank lines", "JSONL", "blanks and Hangul"],
)  # fmt: skip
def test_what_is_harmless_scores_the_same(run, expected, files, note, tmp_path):
    (tmp_path / "빈 칸").mkdir()
    code, result, err = run(**files)
    assert code == 0, err
    assert result["systems"][0]["final_score"] == expected
    assert note in err.replace(f"{tmp_path}/", "")


SHIFTED = table(["fname", "summary"], [(f"test_{i}", text) for i, (_, text) in enumerate(SYSTEM)])


@pytest.mark.parametrize(
    ("files", "message", "remedy"),
    [
        ({"predictions": SHIFTED}, "lacks 3 ids: dev_0, dev_1, dev_2 and has 3 ids: test_0", "the same data"),
        ({"predictions": table(["fname", "summary"], SYSTEM[:2])}, "'p.csv' lacks 1 id: dev_2", "the same data"),
        ({"predictions": table(["fname", "summary"], [*SYSTEM, ("x", "y")])}, "has 1 id: x that the gold lacks", "the"),
        ({"predictions": table(["fname", "summary"], [*SYSTEM, SYSTEM[0]])},
         "line 6 (dev_0): fname stands already in line 2", "an id of its own"),
        ({"predictions": table(["fname", "summary"], [*SYSTEM, (" ", "y")])}, "line 6: fname is empty", "an id"),
        ({"predictions": table(["id", "summary"], SYSTEM)}, "line 1: no column `fname`; there are id, summary",
         "--columns fname=id"),
        ({"predictions": table(["fname", "답"], SYSTEM)}, "line 1: no column `summary`", "--columns 'summary=답'"),
        ({"predictions": "fname,summary\ndev_0,도서관, 자리를\n"}, "line 2 (dev_0): 3 fields where the header has 2",
         "double quotes"),
        ({"predictions": 'fname,summary\ndev_0,"도서관\n'}, "line 2: unexpected end of data", "mend the quotes"),
        ({"predictions": CLEAN.encode("cp949")}, "line 2: not UTF-8", "iconv -f CP949 -t UTF-8"),
        ({"gold": CLEAN_GOLD.encode("utf-16")}, "line 1: not UTF-8", "iconv -f UTF-16"),
        ({"predictions": b"\x00\x01\x02PNG"}, "line 1: holds a NUL byte", "text file in UTF-8"),
        ({"predictions": b"\x89PNG\r\n\xff\xfe"}, "line 1: not UTF-8", "save it as text"),
        ({"predictions": ""}, "line 1: empty", "with a header"),
        ({"predictions": "fname,summary\n"}, "has no rows", "at least one summary"),
        ({"predictions": None}, "'p.csv' is a folder", "give a CSV, JSONL or Parquet file"),
        ({"gold": None}, "'g.csv' is a folder", "give a CSV, JSONL or Parquet file"),
        ({"columns": "summary=answer"}, "--columns summary=answer: no file has a column `answer`", "mend that name"),
        ({"predictions": table(["id", "답"], SYSTEM), "gold": table(["id", *HEADER[1:]], GOLD),
          "columns": "fname=id,summary=답변"}, "--columns summary=답변: no file has a column `답변`", "mend that name"),
        ({"predictions": table(["번호", "summary"], SYSTEM), "gold": table(["id", *HEADER[1:]], GOLD),
          "columns": "fname=id"}, "'p.csv' line 1: no column `id`; there are 번호, summary", "rename it"),
        ({"gold": table(HEADER[::2], [row[::2] for row in GOLD]), "dialogues": "no.csv"}, "there is no file 'no.csv'",
         "check the path"),
        ({"gold": table(HEADER[::2], [row[::2] for row in GOLD]), "dialogues": "one.csv"},
         "'one.csv' lacks 2 ids: dev_1, dev_2 ('g.csv')", "same data"),
        ({"gold": table(["fname", "dialogue"], [row[:2] for row in GOLD])},
         "line 2 (dev_0): there is no summary to compare with", "`summary1`"),
        ({"gold": table(HEADER, [*GOLD[:2], ("dev_2", "x", ". ..")])},
         "(dev_2): a summary to compare with has only periods", "mend it"),
        ({"gold": table(HEADER, [*GOLD[:2], ("dev_2", " ", "x")])}, "(dev_2): the dialogue is empty", "mend or remove"),
        ({"names": ("p.txt", "g.csv")}, "is neither .csv nor .jsonl nor .parquet", "one of these kinds"),
        ({"predictions": "{", "names": ("p.jsonl", "g.csv")}, "line 1: no JSON", "one JSON object a line"),
        ({"predictions": "{", "names": ("p.parquet", "g.csv")}, "is no Parquet file", "write it again"),
    ],
    ids=["shifted ids", "missing id", "extra id", "duplicate id", "blank id", "id column", "answer column", "commas",
         "open quote", "Windows-949", "UTF-16", "NUL", "binary", "empty file", "only a header", "folder",
         "gold is a folder", "a column of no file", "neither of two columns", "another id column", "no dialogues there",
         "fewer dialogues", "gold without summaries", "gold of periods", "empty dialogue", "suffix", "JSON",
         "Parquet"],
)  # fmt: skip
def test_a_fault_gets_its_line_and_exit_code_2(run, files, message, remedy, tmp_path):
    (tmp_path / "one.csv").write_text("fname,dialogue\ndev_0,#Person1#: 네.\n", "utf-8")
    if "dialogues" in files:
        files = files | {"dialogues": tmp_path / files["dialogues"]}
    code, result, err = run(**files)
    assert (code, result) == (2, None)
    error, hint = [line for line in err.splitlines() if line.startswith(("Error: ", "  Try: "))]
    assert message in error.replace(f"{tmp_path}/", "")
    assert remedy in hint


def test_rows_in_another_order_are_joined_by_id_and_not_by_place(run, expected):
    rotated = [(fname, text) for (fname, _), (_, text) in zip(SYSTEM, SYSTEM[1:] + SYSTEM[:1], strict=True)]
    _, result, _ = run(table(["fname", "summary"], rotated), names=("rotated.csv", "g.csv"))
    assert result["systems"][0]["final_score"] < expected


@pytest.mark.parametrize("text", ["", "  ", ".", "...", " . .. "])
def test_predictions_without_a_word_score_0_and_are_listed(run, expected, text):
    code, result, err = run(table(["fname", "summary"], [*SYSTEM[:2], ("dev_2", text)]))
    [system] = result["systems"]
    assert (code, system["empty"], system["empty_fnames"]) == (0, 1, ["dev_2"])
    assert 0 < system["final_score"] < expected
    assert "1 prediction without a word (none, or only periods) score 0: dev_2" in err


def test_a_missing_file(tmp_path, capsys):
    given = {"files": [tmp_path / "no.csv", tmp_path / "neither.csv"]}
    assert execute(ScoreSettings, score, given, as_json=True, debug=False) == 2
    assert "there is no file" in capsys.readouterr().err
