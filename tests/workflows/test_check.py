"""`dialsum check`: what is fit to be handed in passes, each fault fails for its own reason, and oddities are told."""

import csv
import io
import json
import os
from unicodedata import normalize

import pytest
from typer.testing import CliRunner

from dialsum_cli import CheckSettings, PredictSettings, RequestError, check, predict
from dialsum_cli.cli import app
from dialsum_cli.fitness import RULES
from dialsum_cli.settings import BUNDLED

DATA = [
    (f"d_{number}", f"#Person1#: 김 대리님, {number}시에 회의가 있나요?\n#Person2#: 네, 3층 회의실에서 합니다.")
    for number in range(20)
]
GOOD = [(fname, f"#Person2#는 #Person1#에게 {fname[2:]}시에 3층에서 회의가 있다고 합니다.") for fname, _ in DATA]
QUOTED = [GOOD[0], ("d_1", '#Person1#이 "네, 좋아요"라고\n말합니다.'), *GOOD[2:]]


def table(header, rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    return buffer.getvalue()


def told(rows, *replaced, header=("fname", "summary")):
    """The file with some summaries replaced, from the first row on."""
    texts = [*replaced, *(text for _, text in rows[len(replaced) :])]
    return table(header, [(fname, text) for (fname, _), text in zip(rows, texts, strict=True)])


def all_told(text):
    return told(GOOD, *[text] * len(GOOD))


@pytest.fixture
def files(tmp_path):
    """Write a submission (text as UTF-8, or bytes) and check it against `DATA`."""
    data = tmp_path / "data.csv"
    data.write_text(table(("fname", "dialogue"), DATA), "utf-8", newline="")

    def run(content, name="제출 [1].csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return check(CheckSettings(submission=path, data=str(data), **options))

    return run


def found(result, kind=None):
    return [finding.check for finding in result.findings if kind in (None, finding.kind)]


@pytest.mark.parametrize(
    "content",
    [
        told(GOOD),
        told(QUOTED),
        told(GOOD).replace("\n", "\r\n"),
        told(GOOD).rstrip("\n"),
        told(GOOD) + "\n\n",
        table(("", "fname", "summary"), [(number, *row) for number, row in enumerate(GOOD)]),
        table(("Unnamed: 0", "fname", "summary"), [(number, *row) for number, row in enumerate(GOOD)]),
    ],
)
def test_what_is_fit(files, content):
    result = files(content)
    assert (result.fit, result.failed, result.rows, result.findings) == (True, False, 20, [])


BLANK = [" . \n", "\t", ".\r", "\u3000.", "\u00a0", ". \u2028."]

FAULTS = {
    # rule: the file, the rows that are counted, and how its first example begins
    "header": [
        (told(GOOD, header=("id", "summary")), 1, "line 1: id,summary"),
        (told(GOOD, header=("fname", "요약")), 1, "line 1: fname,요약"),
        ("".join(told(GOOD).splitlines(keepends=True)[1:]), 1, "line 1: d_0,"),
        ("", 1, "line 1: empty"),
        (table(("fname", "summary", "summary"), [(*row, "x") for row in GOOD]), 1, "line 1: fname,summary,summary"),
        (told(GOOD).replace(",", ";", 1), 1, "line 1: fname;summary"),
    ],
    "no_rows": [("fname,summary\n", 1, "line 1")],
    "byte_order_mark": [(told(GOOD).encode("utf-8-sig"), 1, "line 1")],
    "encoding": [
        (told(GOOD).encode("cp949"), 20, "line 2 (d_0): not UTF-8"),
        (told(GOOD).encode("utf-16"), 1, "line 1: UTF-16"),
        (told(GOOD).encode().replace("회의".encode(), b"\xed\x9a", 1), 1, "line 2 (d_0): not UTF-8"),
    ],
    "nul": [(told(GOOD).replace("회의", "회\0의", 1), 1, "line 2 (d_0)")],
    "decomposed": [
        (all_told(normalize("NFD", GOOD[0][1])), 20, "line 2 (d_0)"),
        (told(GOOD, GOOD[0][1], normalize("NFD", GOOD[1][1])), 1, "line 3 (d_1)"),
    ],
    "quotes": [
        (told(GOOD).replace("d_3,", 'd_3,"x" ', 1), 1, "line 5: "),
        (told(GOOD) + 'd_20,"x', 1, "line 22: unexpected end"),
    ],
    "fields": [
        (told(GOOD).replace("3층에서", "3층에서, 내일", 1), 1, "line 2 (d_0): 3 where the header has 2"),
        (told(GOOD).replace(f",{GOOD[4][1]}", ""), 1, "line 6 (d_4): 1 where the header has 2"),
    ],
    "no_id": [(told(GOOD) + ",더 있습니다.\n", 1, "line 22")],
    "unknown_ids": [
        (told(GOOD) + "x_1,더 있습니다.\n", 1, "line 22 (x_1)"),
        (told(GOOD).replace("d_7,", "D_7,"), 1, "line 9 (D_7)"),
    ],
    "duplicate_ids": [(told(GOOD) + "d_3,또 있습니다.\n", 1, "line 22 (d_3): already in line 5")],
    "missing_ids": [(told(GOOD[:-2]), 2, "d_18")],
    "order": [(told(GOOD[::-1]), 19, "line 3 (d_18)"), (told([GOOD[1], GOOD[0], *GOOD[2:]]), 1, "line 3 (d_0)")],
    "empty": [(told(GOOD, ""), 1, "line 2 (d_0)"), *((told(GOOD, "a.", blank), 1, "line 3 (d_1)") for blank in BLANK)],
    "broken_characters": [(all_told("#Person1#이 회의\ufffd를 묻습니다."), 20, "line 2 (d_0): …")],
    "broken_tags": [
        (all_told("#Person1#이 #Person2에게 묻습니다."), 20, "line 2 (d_0): #Person2"),
        (all_told("Person1이 묻습니다."), 20, "line 2 (d_0): Person1"),
    ],
    "unknown_tags": [(all_told("#Person7#이 묻습니다."), 20, "line 2 (d_0): #Person7#")],
    "replaced_tags": [
        (all_told("직원이 상사에게 시간을 묻습니다."), 20, "line 2 (d_0): 직원이"),
        (all_told("A가 B에게 시간을 묻습니다."), 20, "line 2 (d_0): A가"),
    ],
    "lost_tags": [(all_told("회의 시간을 묻습니다."), 20, "line 2 (d_0): 회의")],
    "cut_off": [(all_told("#Person1#이 #Person2#에게 회의가 몇 시에 있는지를 묻고 나"), 20, "line 2 (d_0): …")],
    "repetition": [(all_told("#Person1#이 묻습니다. " + "회의가 또 있습니다. " * 4), 20, "line 2 (d_0): …")],
    "foreign_scripts": [(all_told("#Person1#이 會議 시간을 묻습니다."), 20, "line 2 (d_0): 會議")],
    "long": [(all_told("#Person1#이 묻습니다. " + "".join(map(str, range(100))) + "."), 20, "line 2 (d_0): ")],
}


@pytest.mark.parametrize(
    ("rule", "content", "rows", "example"),
    [(rule, *case) for rule, cases in FAULTS.items() for case in cases],
    ids=lambda value: value if value in RULES else "",
)
def test_a_fault_fails_for_its_reason(files, rule, content, rows, example):
    result = files(content)
    finding = next(finding for finding in result.findings if finding.check == rule)
    assert result.failed
    assert (finding.kind, finding.rows) == ("fault", rows)
    assert finding.examples[0].startswith(example)
    assert finding.what
    assert finding.remedy
    assert found(result)[0] in found(result, "fault")  # faults first


def test_every_rule_has_a_test():
    assert {*FAULTS, "columns", "unreadable", "latin", "decomposed_ids", "alike"} == set(RULES)


@pytest.mark.parametrize(("copies", "rows"), [(3, None), (4, 4), (19, 19)])
def test_one_summary_for_many_dialogues_is_odd(files, copies, rows):
    alike = [(fname, GOOD[0][1] if number <= copies else text) for number, (fname, text) in enumerate(GOOD)]
    result = files(told(alike))
    assert result.fit
    assert [(each.check, each.rows) for each in result.findings] == ([] if rows is None else [("alike", rows)])


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("broken_characters", "#Person1#이 회의\ufffd를 묻습니다."),
        ("broken_tags", "#Person1#이 #Person2에게 묻습니다."),
        ("unknown_tags", "#Person7#이 묻습니다."),
        ("lost_tags", "김 대리가 회의 시간을 묻습니다."),
        ("cut_off", "#Person1#이 회의 시간을 묻고"),
        ("repetition", "#Person1#이 묻습니다. " + "회의가 또 있습니다. " * 3),
        ("foreign_scripts", "#Person1#이 会議 시간을 묻습니다."),
        ("latin", "#Person1#이 meeting 시간을 묻습니다."),
    ],
)
def test_a_slip_is_a_warning(files, rule, text):
    result = files(told(GOOD, text))
    assert (result.fit, found(result)) == (True, [rule])


def test_a_broken_tag_hides_no_other_script(files):
    result = files(all_told("#Person1#이 #Person2에게 會議 시간을 묻습니다."))
    assert found(result, "fault") == ["broken_tags", "foreign_scripts"]
    assert result.findings[1].examples[0] == "line 2 (d_0): 會議"


def test_latin_words_are_never_a_fault(files):
    assert files(all_told("#Person1#이 meeting 시간을 묻습니다.")).fit


def test_other_columns_are_an_oddity_without_a_template(files):
    result = files(table(("summary", "fname"), [row[::-1] for row in GOOD]))
    assert (result.fit, found(result)) == (True, ["columns"])
    result = files(table(("fname", "summary", "dialogue"), [(*row, "x") for row in GOOD]))
    assert (result.fit, found(result)) == (True, ["columns"])


def test_the_rows_of_a_wrong_header_are_looked_at_all_the_same(files):
    result = files(told(GOOD[:-1], "", header=("id", "summary")))
    assert found(result, "fault") == ["header", "missing_ids", "empty"]


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("a.jsonl", "".join(json.dumps({"fname": fname, "summary": text}) + "\n" for fname, text in GOOD), None),
        ("a.jsonl", '{"fname": "d_0", "summary": "a."}\n{"fname"\n', "unreadable"),
        ("a.jsonl", '{"id": "d_0", "summary": "a."}\n', "header"),
        ("a.jsonl", "", "no_rows"),
        ("a.parquet", "no Parquet", "unreadable"),
    ],
)
def test_other_formats(files, name, content, rule):
    result = files(content, name)
    assert found(result)[:1] == [rule] * bool(rule)
    assert result.fit is (rule is None)


def test_a_template_fixes_columns_and_order(files, tmp_path):
    template = tmp_path / "sample.csv"
    template.write_text(
        table(("", "id", "answer"), [(n, fname, "") for n, (fname, _) in enumerate(GOOD[::-1])]), "utf-8"
    )
    good = table(("", "id", "answer"), [(n, *row) for n, row in enumerate(GOOD[::-1])])
    assert files(good, template=template).findings == []
    result = files(told(GOOD), template=template)
    assert found(result, "fault") == ["header", "order"]


def test_training_summaries_say_what_is_usual(files, tmp_path):
    train = tmp_path / "train.csv"
    content = all_told("회의가 몇 시에 있는지 묻고 답함")
    assert found(files(content), "fault") == ["lost_tags", "cut_off"]
    rows = [(fname, text, "회의가 몇 시에 있는지 묻고 답함") for fname, text in DATA]
    train.write_text(table(("fname", "dialogue", "summary"), rows), "utf-8")
    result = files(content, train=str(train))
    assert (result.findings, result.length, result.train_length) == ([], 18, 18)


@pytest.mark.parametrize(("times", "kind"), [(1, []), (1.6, ["warning"]), (2.5, ["fault"]), (0.6, ["warning"])])
def test_lengths_beside_the_training_summaries(files, tmp_path, times, kind):
    train = tmp_path / "train.csv"
    dialogue = "#Person1#: " + "가" * 200
    train.write_text(table(("fname", "dialogue", "summary"), [("t", dialogue, f"#Person1#이 {'가' * 18}.")]), "utf-8")
    length = round(30 * times) - 12
    result = files(all_told(f"#Person1#이 {'나' * length}."), train=str(train))
    assert [finding.kind for finding in result.findings if finding.check == "length"] == kind


@pytest.mark.parametrize("text", ["저항은 5\u2126입니다.", "\u2329회의\u232a를 묻습니다.", "\uf914을 묻습니다."])
def test_characters_that_a_normal_form_replaces_are_not_decomposed(files, text):
    """The ohm sign, angle brackets, a compatibility ideograph: NFC has others in their place."""
    assert normalize("NFC", text) != text
    assert "decomposed" not in found(files(told(GOOD, f"#Person1#이 {text}")))


def test_ids_are_the_same_in_any_normal_form_and_decomposed_ones_are_told(files, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text(data.read_text("utf-8").replace("d_0", "회의"), "utf-8")
    rows = [("회의", GOOD[0][1]), *GOOD[1:]]
    assert files(told(rows)).findings == []
    lines = "".join(json.dumps({"fname": normalize("NFD", fname), "summary": text}) + "\n" for fname, text in rows)
    for name, content in (("a.csv", told(rows).replace("회의", normalize("NFD", "회의"), 1)), ("a.jsonl", lines)):
        (finding,) = files(content, name).findings
        assert (finding.check, finding.kind, finding.rows) == ("decomposed_ids", "warning", 1)
        assert finding.examples[0].endswith("(회의)")


@pytest.mark.parametrize("order", [1, -1])
def test_the_first_rows_of_a_template(files, tmp_path, order):
    template = tmp_path / "sample.csv"
    template.write_text(told(GOOD[::order]), "utf-8")
    assert files(told(GOOD[:3][::order]), template=template, limit=3).findings == []
    assert found(files(told(GOOD[:3][::-order]), template=template, limit=3)) == ["order"]
    template.write_text(told(GOOD[1:]), "utf-8")
    with pytest.raises(RequestError, match=r"sample\.csv' lacks 1 id: d_0"):
        files(told(GOOD[:3]), template=template, limit=3)


def test_a_template_with_a_damaged_header_is_one_line(files, tmp_path):
    template = tmp_path / "sample.csv"
    template.write_text('fname,"' + "가" * 200_000, "utf-8")
    with pytest.raises(RequestError, match=r"sample\.csv' line 1: unexpected end of data"):
        files(told(GOOD), template=template)


def test_a_name_that_is_no_utf_8(dialsum, tmp_path):
    name = os.fsdecode(b"\xff.csv")
    (tmp_path / name).write_text(told(GOOD), "utf-8")
    (tmp_path / "data.csv").write_text(table(("fname", "dialogue"), DATA), "utf-8")
    done = dialsum("check", name, "--data", "data.csv", "--json")
    assert json.loads(done.stdout)["submission"] == name


def test_ids_and_dialogues_by_other_names_and_the_first_rows_alone(files, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text(data.read_text("utf-8").replace("fname,dialogue", "id,text", 1), "utf-8")
    assert files(told(GOOD[:3]), columns={"fname": "id", "dialogue": "text"}, limit=3).findings == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere.csv", "there is no file"), ("folder.csv", "is a folder"), ("a.txt", "is neither .csv nor .jsonl")],
)
def test_what_cannot_be_read_at_all_is_exit_2(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "a.txt").touch()
    done = CliRunner().invoke(app, ["check", name], prog_name="dialsum")
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(files, tmp_path):
    (tmp_path / "a.csv").touch(0)
    with pytest.raises(RequestError, match="Permission denied"):
        check(CheckSettings(submission=tmp_path / "a.csv"))


def test_faulty_data_are_exit_2_and_not_the_submission_s_fault(files, tmp_path):
    with (tmp_path / "data.csv").open("a", encoding="utf-8") as file:
        file.write("d_3,#Person1#: 또 있네요.\n")
    with pytest.raises(RequestError, match=r"\(d_3\): fname stands already in line") as raised:
        files(told(GOOD))
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("model", ["lead1", "lead2", "tiny-bart"])
def test_what_predict_writes_passes_and_predict_has_said_so(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    written = predict(PredictSettings(model=model))
    result = check(CheckSettings(submission=written.output, data=written.data))
    assert result.fit
    assert [(each.check, each.kind, each.rows) for each in result.findings] == [
        (each.check, each.kind, each.rows) for each in written.check.findings
    ]
    assert written.check.model_dump(exclude={"findings"}) == result.model_dump(exclude={"findings"})


def test_the_program_says_what_is_wrong_where_and_what_to_do(dialsum, tmp_path):
    submission = tmp_path / "submission.csv"
    lines = (BUNDLED / "test_references.csv").read_text("utf-8").splitlines()
    fnames = [line.split(",")[0] for line in lines if line.startswith("test_")]
    submission.write_text(
        table(("fname", "summary"), [(fname, "#Person1#이 말합니다.") for fname in fnames[1:]]), "utf-8"
    )
    done = dialsum("check", "submission.csv", check=1)
    assert "Not fit to hand in: 1 fault." in done.stdout
    assert "dialogues without a row: write one row per dialogue" in done.stdout
    document = json.loads(dialsum("check", "submission.csv", "--json", check=1).stdout)
    assert (document["fit"], document["findings"][0]["examples"]) == (False, fnames[:1])


@pytest.mark.parametrize(
    ("file", "reasons"),
    [
        ("id_header.csv", {"header"}),
        ("unescaped_commas.csv", {"fields"}),
        ("repetition_penalty_5.csv", {"broken_tags", "cut_off"}),
        ("tags_replaced_by_roles.csv", {"replaced_tags"}),
    ],
)
def test_files_that_were_handed_in(shared_data, file, reasons):
    data = str(shared_data / "korean-dialogsum" / "test.csv")
    result = check(CheckSettings(submission=shared_data / "malformed" / file, data=data))
    assert reasons <= set(found(result, "fault"))


@pytest.mark.parametrize("name", ["a", "b"])
def test_real_predictions_are_fit(shared_data, name):
    data, train = (str(shared_data / "korean-dialogsum" / f"{split}.csv") for split in ("dev", "train"))
    path = shared_data / "predictions" / f"dev_kobart_{name}.csv"
    assert check(CheckSettings(submission=path, data=data, train=train)).fit


def test_columns_hold_for_the_files_that_have_them(files, tmp_path):
    data, train = tmp_path / "data.csv", tmp_path / "train.csv"
    data.write_text(data.read_text("utf-8").replace("fname,dialogue", "id,text", 1), "utf-8")
    rows = [(fname, text, GOOD[0][1]) for fname, text in DATA]
    train.write_text(table(("fname", "dialogue", "summary"), rows), "utf-8")
    renamed = {"fname": "id", "dialogue": "text"}
    assert files(told(GOOD), columns=renamed, train=str(train)).fit
    with pytest.raises(RequestError, match="no column `ids`"):
        files(told(GOOD), columns={"fname": "ids"}, train=str(train))
