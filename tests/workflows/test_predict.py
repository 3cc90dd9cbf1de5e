"""`dialsum predict`: what it writes, in parts, and how it goes on after a kill."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest
from heard import Heard
from tiny_models import make_model

from dialsum_cli import DialsumError, PredictSettings, RequestError, predict
from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.data.submissions import read_submission
from dialsum_cli.settings import BUNDLED
from dialsum_cli.workflows import predict as workflow

TURN = "#Person{}#: {}번째로 말합니다."


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


def write_data(path, count, turns=2):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fname", "dialogue", "summary"])
        for number in range(count):
            lines = "\n".join(TURN.format(1 + turn % 2, f"{number}-{turn}") for turn in range(turns))
            writer.writerow([f"d_{number}", lines, f"#Person1#이 {number}번째로 말합니다."])
    return str(path)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return str(make_model(tmp_path_factory.mktemp("models") / "llama", "llama"))


def stored(folder):
    """The dialogues of each batch that the stores under a folder hold."""
    lines = [
        json.loads(line) for path in folder.rglob("*.jsonl") for line in path.read_text("utf-8").splitlines() if line
    ]
    return [text for line in lines for text in line.get("summaries", ())]


@pytest.mark.parametrize("name", ["a.csv", "b.jsonl", "c.parquet"])
def test_every_format_holds_the_same_rows_in_the_order_of_the_input(tmp_path, name):
    result = predict(PredictSettings(model="lead1", data=write_data(tmp_path / "data.csv", 5), output=tmp_path / name))
    assert read_submission(tmp_path / name) == {f"d_{n}": TURN.format(1, f"{n}-0") for n in range(5)}
    assert [*read_submission(tmp_path / name)] == [f"d_{n}" for n in range(5)]
    assert (result.rows, result.check.fit) == (5, True)


def test_a_folder_called_as_a_prompt_is_no_prompt(tmp_path):
    (tmp_path / "korean").mkdir()
    output = tmp_path / "korean" / "out.csv"
    predict(PredictSettings(model="lead1", data=write_data(tmp_path / "data.csv", 2), output=output))
    assert [*read_submission(output)] == ["d_0", "d_1"]


def test_an_ending_that_says_no_format_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(RequestError, match=r"'a.txt' is neither \.csv nor"):
        predict(PredictSettings(model="lead1", output="a.txt"))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("model", ["lead2", "random", "constant"])
def test_parts_make_the_file_of_the_whole(tmp_path, monkeypatch, model):
    data = write_data(tmp_path / "data.csv", 13)
    whole = predict(PredictSettings(model=model, data=data, output="whole.csv"))
    monkeypatch.setattr(workflow, "PART", 4)  # 13 = 4 + 4 + 5: a last part of one row would have no other row
    parts = predict(PredictSettings(model=model, data=data, output="parts.csv"))
    assert [row[0] for row in rows(tmp_path / "parts.csv")] == [row[0] for row in rows(tmp_path / "whole.csv")]
    assert (parts.rows, parts.check.rows) == (13, 13)
    if model != "random":
        assert parts.sha256 == whole.sha256


def test_parts_are_not_made_again(tmp_path, monkeypatch, llama):
    monkeypatch.setattr(workflow, "PART", 3)
    settings = {"model": llama, "data": write_data(tmp_path / "data.csv", 7), "max_new_tokens": 8, "overwrite": True}
    first = predict(PredictSettings(**settings, limit=5))
    assert len(stored(tmp_path / "runs")) == 5
    told = Heard()
    predict(PredictSettings(**settings), told)
    assert len(stored(tmp_path / "runs")) == 7
    assert any("5 summaries are there from an earlier run" in note for note in told.notes)
    again = predict(PredictSettings(**settings, limit=5))
    assert again.sha256 == first.sha256


KILLED = """
import os, signal, sys
from dialsum_cli import PredictSettings, predict
from dialsum_cli.store import SummaryStore
from dialsum_cli.workflows import predict as workflow
workflow.PART = 10
model, data, batches = sys.argv[1:]
left, keep = int(batches), SummaryStore.keep
def keep_and_die(*arguments):
    global left
    keep(*arguments)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
SummaryStore.keep = keep_and_die
predict(PredictSettings(model=model, data=data, max_new_tokens=8, batch_tokens=300))
"""


@pytest.mark.slow
def test_after_a_kill_the_same_command_goes_on(tmp_path, llama):
    data = write_data(tmp_path / "data.csv", 30, turns=6)
    command = [sys.executable, "-c", KILLED, llama, data]
    assert subprocess.run([*command, "13"], cwd=tmp_path, capture_output=True).returncode == -signal.SIGKILL
    done = set(stored(tmp_path / "runs"))
    assert 10 < len(done) < 30  # in the middle of the second part
    assert not (tmp_path / "submission.csv").exists()
    subprocess.run([*command, "0"], cwd=tmp_path, check=True, capture_output=True)
    texts = stored(tmp_path / "runs")
    assert len(texts) == len(set(texts)) == 30  # nothing was asked twice
    assert done < set(texts)
    assert [row[0] for row in rows(tmp_path / "submission.csv")[1:]] == [f"d_{n}" for n in range(30)]


def test_what_fails_leaves_no_file_behind(tmp_path, monkeypatch):
    data = tmp_path / "data.csv"
    write_data(data, 20)
    monkeypatch.setattr(workflow, "PART", 4)
    lead = workflow.BASELINES["lead1"]

    def growing(seed):
        with data.open("a", encoding="utf-8") as file:
            file.write("d_99,#Person1#: 또 있습니다.,\n")
        return lead(seed)

    monkeypatch.setitem(workflow.BASELINES, "lead1", growing)
    with pytest.raises(DialsumError, match="changed while it was read") as raised:
        predict(PredictSettings(model="lead1", data=str(data)))
    assert raised.value.remedy
    assert {path.name for path in tmp_path.iterdir()} == {"data.csv", "runs"}


def test_a_faulty_row_stops_before_any_work(tmp_path):
    data = tmp_path / "data.csv"
    write_data(data, 30)
    with data.open("a", encoding="utf-8") as file:
        file.write("d_3,#Person1#: 또 있습니다.,\n")
    with pytest.raises(RequestError, match=r"line 62 \(d_3\): fname stands already in line 8"):
        predict(PredictSettings(model="lead1", data=str(data)))
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def template(path, header, fnames):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *([*range(n, n + len(header) - 2), fname, ""] for n, fname in fnames)])
    return path


@pytest.mark.parametrize("start", [0, 1])
def test_a_template_gives_columns_index_and_order(tmp_path, start):
    data = write_data(tmp_path / "data.csv", 4)
    sample = template(tmp_path / "s.csv", ["", "ID", "답"], [(start + n, f"d_{3 - n}") for n in range(4)])
    result = predict(PredictSettings(model="lead1", data=data, template=sample))
    expected = [[str(start + n), f"d_{3 - n}", TURN.format(1, f"{3 - n}-0")] for n in range(4)]
    assert rows(tmp_path / "submission.csv") == [["", "ID", "답"], *expected]
    assert result.check.fit


def test_a_template_without_rows_gives_its_columns_alone(tmp_path):
    data = write_data(tmp_path / "data.csv", 2)
    sample = template(tmp_path / "s.csv", ["summary", "fname"], [])
    predict(PredictSettings(model="lead1", data=data, template=sample))
    assert rows(tmp_path / "submission.csv")[1] == [TURN.format(1, "0-0"), "d_0"]


@pytest.mark.parametrize(
    ("header", "fnames", "message"),
    [
        (["fname", "summary"], ["d_0", "d_2"], r"lacks 1 id: d_1 and has 1 id: d_2 that the data lack"),
        (["fname", "summary"], ["d_0", "d_1", "d_1"], r"line 4 \(d_1\): fname stands already in line 3"),
        (["fname", "summary", "topic"], [], "line 1: its columns are fname, summary, topic"),
        (["fname"], [], "line 1: its columns are fname"),
    ],
)
def test_a_template_of_other_data_is_refused(tmp_path, header, fnames, message):
    data = write_data(tmp_path / "data.csv", 2)
    path = tmp_path / "s.csv"
    path.write_text("\n".join([",".join(header), *(f"{fname}," for fname in fnames)]) + "\n", "utf-8")
    with pytest.raises(RequestError, match=message):
        predict(PredictSettings(model="lead1", data=data, template=path))


def test_turn_lists_under_other_names(tmp_path):
    data = tmp_path / "calls.jsonl"
    turns = [{"speaker": "#Person1#", "text": "안녕하세요?"}, {"speaker": "#Person2#", "text": "네."}]
    data.write_text(json.dumps({"id": 7, "turns": turns}) + "\n", "utf-8")
    predict(PredictSettings(model="lead2", data=str(data), columns={"fname": "id", "dialogue": "turns"}))
    assert rows(tmp_path / "submission.csv")[1] == ["7", "#Person1#: 안녕하세요? #Person2#: 네."]


@pytest.mark.slow
def test_a_data_set_in_the_layout_of_the_hub(dialsum, tmp_path):
    """`datasets` reads a folder `owner/name` as it reads the repository of that name."""
    folder = tmp_path / "kim" / "calls"
    folder.mkdir(parents=True)
    for split, count in (("train", 3), ("test", 2)):
        write_data(folder / f"{split}.csv", count)
    env = {"HF_HOME": str(tmp_path / "home")}
    arguments = ("predict", "--model", "lead1", "--overwrite", "--json")
    result = json.loads(dialsum(*arguments, "--data", "kim/calls:test", env=env).stdout)
    assert (result["rows"], result["data"]) == (2, "kim/calls:test")
    assert [row[0] for row in rows(tmp_path / "submission.csv")] == ["fname", "d_0", "d_1"]
    provenance = json.loads((tmp_path / result["run_dir"] / "provenance.json").read_text("utf-8"))
    assert len(provenance["data"]["sha256"]) == 64
    assert json.loads(dialsum("check", "submission.csv", "--data", "kim/calls:test", "--json", env=env).stdout)["fit"]
    for name, message in (
        ("kim/calls", "'kim/calls' is a folder"),
        ("kim/calls:dev", 'Unknown split "dev"'),
        ("kim/nothing:test", "there is no file 'kim/nothing:test', and no data set either"),
    ):
        done = dialsum(*arguments, "--data", name, env=env, check=2)
        assert message in done.stderr
        assert "Traceback" not in done.stderr


LONG = 260  # turns: more than the tiny model's 1,024 positions hold


def test_what_does_not_fit_is_cut_or_summarised_in_parts_and_counted(tmp_path):
    data = tmp_path / "data.csv"
    write_data(data, 1, turns=LONG)
    with data.open("a", encoding="utf-8") as file:
        file.writelines(f"short_{n},{TURN.format(1, n)},\n" for n in range(3))
    settings = {"model": "tiny-bart", "data": str(data), "max_new_tokens": 24}
    told = Heard()
    cut = predict(PredictSettings(**settings, output="cut.csv"), told)
    assert (cut.prompts_truncated, cut.chunked, cut.rows) == (1, 0, 4)
    assert any("1 of 4 dialogues were too long for tiny-bart and were shortened" in each for each in told.warnings)
    told = Heard()
    chunk = predict(PredictSettings(**settings, output="chunk.csv", long_dialogue="chunk"), told)
    assert (chunk.prompts_truncated, chunk.chunked, chunk.rows) == (0, 1, 4)
    assert any(
        "1 of 4 dialogues were too long for tiny-bart and were summarised in parts" in each for each in told.notes
    )
    assert any("3 summaries are there from an earlier run" in each for each in told.notes)  # those that fit
    one, other = rows(tmp_path / "cut.csv"), rows(tmp_path / "chunk.csv")
    assert one[1] != other[1]
    assert one[2:] == other[2:]  # what fits is not concerned


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "lead1", "prompt": "short"}, "--prompt means nothing to lead1"),
        ({"model": "lead1", "precision": "nf4"}, "--precision means nothing to lead1"),
        ({"model": "random", "num_beams": 4}, "--num-beams means nothing to random"),
        ({"model": "constant", "no_repeat_ngram_size": 3}, "--no-repeat-ngram-size means nothing to constant"),
        ({"model": "lead3", "block_foreign": False}, "--block-foreign means nothing to lead3"),
        ({"model": "lead1", "max_new_tokens": 9}, "--max-new-tokens means nothing to lead1"),
        ({"model": "lead1", "long_dialogue": "chunk"}, "--long-dialogue means nothing to lead1"),
        ({"model": "lead1", "engine": "hf"}, "--engine means nothing to lead1"),
    ],
)
def test_what_a_model_would_have_to_ignore_is_refused(tmp_path, options, message):
    with pytest.raises(RequestError, match=message) as raised:
        predict(PredictSettings(**options))
    assert raised.value.remedy.startswith("leave it out")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("named", ["data", "template", "output"])
def test_it_replaces_nothing_that_it_reads(tmp_path, named):
    (tmp_path / "data.csv").write_text("fname,dialogue\na,#Person1#: 안녕?\n", "utf-8")
    (tmp_path / "template.csv").write_text("fname,summary\na,x\n", "utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    options = {"data": "data.csv", "template": "template.csv", "overwrite": True, "model": "lead1"}
    output = {"data": "data.csv", "template": "template.csv", "output": "loop/x.csv"}[named]
    if named == "output":
        (tmp_path / "loop").symlink_to("loop")
    message = "loop of links" if named == "output" else "is, or is in, what is read"
    with pytest.raises(RequestError, match=message):
        predict(PredictSettings(output=output, **options))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_prompt_that_an_encoder_decoder_is_not_asked_with_is_told(dialsum):
    done = dialsum("predict", "--model", "tiny-bart", "--prompt", "short", "--limit", 1, "--max-new-tokens", 4)
    assert "--prompt short is for chat models, and tiny-bart is none" in done.stderr


@pytest.mark.parametrize("model", ["lead1", "tiny-bart"])
def test_a_run_of_what_ignores_options_is_repeated_by_its_settings(tmp_path, model):
    first = predict(PredictSettings(model=model, limit=2))
    again = predict(PredictSettings(config=first.run_dir / "settings.yaml", overwrite=True))
    assert again.sha256 == first.sha256


def test_a_server_cannot_tell_what_fits():
    settings = PredictSettings(base_url="http://127.0.0.1:9/v1", api_model="x", long_dialogue="chunk")
    with pytest.raises(RequestError, match="--long-dialogue means nothing to a server"):
        predict(settings)


def test_a_fault_warns_and_leaves_the_exit_code_alone(dialsum, tmp_path):
    data = tmp_path / "data.jsonl"
    lines = [{"fname": f"d_{n}", "dialogue": f"#Person1#: 저기 {n}\n#Person2#: 네."} for n in range(3)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    done = dialsum("predict", "--model", "lead1", "--data", "data.jsonl")
    assert "Warning: 3 of 3 summaries (d_0, d_1, d_2): no end of a sentence" in done.stderr
    assert "저기" not in done.stderr
    assert "Not fit to hand in: 1 fault." in done.stdout
    assert "Next: dialsum check submission.csv --data data.jsonl" in done.stderr


def test_a_part_of_the_data_is_not_called_fit_to_hand_in(dialsum):
    done = dialsum("predict", "--model", "lead1", "--limit", 3)
    assert "Fit to hand in" not in done.stdout
    assert "of the first 3 dialogues alone" in done.stdout
    assert "Next: the same command without --limit" in done.stderr


def test_it_ends_with_what_to_type_next(dialsum):
    done = dialsum("predict", "--model", "lead1")
    assert "Fit to hand in" in done.stdout
    assert "Next: dialsum score submission.csv" in done.stderr
    own = dialsum("predict", "--model", "lead1", "--data", BUNDLED / "dev.csv", "--overwrite")
    assert "Next: hand it in, or where summaries are known: dialsum score submission.csv GOLD.csv" in own.stderr


def test_a_run_predicts_the_real_test_split(shared_data, tmp_path):
    data = str(shared_data / "korean-dialogsum" / "test.csv")
    result = predict(PredictSettings(model="lead2", data=data))
    assert (result.rows, result.check.fit) == (499, True)
    assert [row[0] for row in rows(tmp_path / "submission.csv")[1:]] == [each.fname for each in read_dialogues(data)]


@pytest.mark.slow
def test_memory_is_flat(tmp_path):
    def peak(count):
        data = write_data(tmp_path / "data.csv", count, turns=8)
        process = subprocess.Popen(
            [sys.executable, "-m", "dialsum_cli", "predict", "--model", "lead1", "--data", data, "--overwrite"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss / 1024

    few, many = peak(10_000), peak(100_000)
    assert many < few + 20  # MiB: 0.7 of them are ids, some are what is in memory at a time; all would take 40


def test_the_bundled_data_are_the_default():
    result = predict(PredictSettings(model="constant"))
    assert (result.data, result.rows) == (str(BUNDLED / "test.csv"), 120)
