"""`dialsum report`: runs side by side as they were, compared where they can be, and a log that keeps what is yours."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import yaml
from markdown_it import MarkdownIt

from dialsum_cli import (
    FinetuneSettings,
    PredictSettings,
    ReportSettings,
    RequestError,
    ScoreSettings,
    ScreenSettings,
    TuneSettings,
    finetune,
    predict,
    report,
    score,
    screen,
    tune,
)
from dialsum_cli.errors import DataError
from dialsum_cli.reporter import Reporter
from dialsum_cli.reports.log import HEADER, updated
from dialsum_cli.settings import BUNDLED

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
ROWS = 24


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with 24 dialogues, and runs of all commands that leave any."""
    place = tmp_path_factory.mktemp("runs")
    for name in ("train", "dev"):
        with (BUNDLED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[: ROWS + 1]
        with (place / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    dev, tiny = str(place / "dev.csv"), {"max_new_tokens": 8}
    screen(
        ScreenSettings(models=["tiny-bart", "lead1"], data=dev, output_dir=place / "screen", baselines=False, **tiny)
    )
    predict(PredictSettings(model="lead3", data=dev, output=place / "lead3.csv", output_dir=place / "predict"))
    finetune(
        FinetuneSettings(
            models=["tiny-bart"], train=str(place / "train.csv"), dev=dev, num_epochs=1, output_dir=place / "finetune",
            **tiny,
        )
    )  # fmt: skip
    tune(TuneSettings(model="tiny-bart", dev=dev, trials=2, output_dir=place / "tune", **tiny))
    for command in ("screen", "predict", "finetune", "tune"):
        [settings] = [*(place / command).glob("2*/settings.yaml"), *(place / command).glob("*/2*/settings.yaml")]
        settings.parent.rename(place / f"{command}-run")
    return place


@pytest.fixture
def runs(place, tmp_path):
    """A copy of a run's folder, to be changed."""

    def copy(command):
        return shutil.copytree(place / f"{command}-run", tmp_path / command)

    return copy


def told(tmp_path, *folders, **options):
    """The result and the page's texts."""
    output = tmp_path / "page.html"
    result = report(ReportSettings(run_dirs=list(folders), output=output, overwrite=True, worst=2, **options))
    page = output.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=|https?://|<script", page)
    return result, Words(page)


class Words(HTMLParser):
    """The texts of a page, its tables' rows and its headings."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.rows, self.headings, self.open = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.open = tag
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        self.texts.append(data)
        if self.open in ("td", "th"):
            self.rows[-1].append(data)
        if self.open == "h2":
            self.headings.append(data)


def test_all_runs_on_one_page_with_the_scores_that_they_gave_themselves(place, tmp_path):
    folders = [place / f"{command}-run" for command in ("screen", "predict", "finetune", "tune")]
    result, page = told(tmp_path, *folders)
    recorded = [json.loads((folder / "result.json").read_text("utf-8")) for folder in folders]
    after = {"improvement": "after", "no improvement": "before"}[recorded[3]["stages"][0]["verdict"]]
    (alone,) = score(ScoreSettings(files=[place / "lead3.csv", place / "dev.csv"])).systems
    assert [(run.command, run.final_score, run.ci95) for run in result.runs] == [
        (command, pytest.approx(scores["final_score"]), pytest.approx(tuple(scores["ci95"])))
        for command, scores in [
            ("screen", next(row for row in recorded[0]["leaderboard"] if row["model"] == "tiny-bart")),
            ("predict", alone.model_dump()),
            ("finetune", recorded[2]["after"]),
            ("tune", recorded[3]["stages"][0][after]),
        ]
    ]
    leaderboards = [heading for heading in page.headings if heading.startswith("Leaderboard")]
    assert [heading.partition(" dialogues")[0] for heading in leaderboards] == [
        "Leaderboard · 24", "Leaderboard · 12 that no trial saw of 24"
    ]  # fmt: skip
    assert any("Scores on other data don't compare" in note for note in result.notes)
    assert {"Settings", "Curves", "Provenance"} < set(page.headings)
    assert sum(heading.startswith("Lowest 2 of 24") for heading in page.headings) == 3  # baselines of a screening aside
    assert "Trials, in their order" in page.texts


def test_the_folder_of_kept_summaries_among_runs_is_left_out(place, tmp_path):
    (tmp_path / "summaries").mkdir()
    result, _ = told(tmp_path, tmp_path / "summaries", place / "predict-run")
    assert [run.command for run in result.runs] == ["predict"]
    with pytest.raises(DataError, match="is no run folder"):
        told(tmp_path, tmp_path / "summaries")


def test_the_test_is_that_of_score(place, tmp_path):
    result, _ = told(tmp_path, place / "finetune-run", place / "predict-run")
    files = [place / "finetune-run" / "predictions.csv", place / "lead3.csv"]
    ours = {system.model: system for system in result.systems}
    if ours["lead3"].final_score > ours["tiny-bart"].final_score:
        files.reverse()
    second = score(ScoreSettings(files=[*files, place / "dev.csv"])).systems[1]
    (tested,) = [system for system in result.systems if system.p_value is not None]
    for name in ("final_score", "difference", "difference_ci95", "p_value", "wins", "ties", "losses", "tied"):
        assert getattr(tested, name) == pytest.approx(getattr(second, name)), name
    assert ours["tiny-bart, untrained"].difference is None  # whose summaries aren't in the run


def test_settings_that_differ_come_first(place, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(place / "screen-run", again)
    text = (again / "settings.yaml").read_text("utf-8")
    (again / "settings.yaml").write_text(text.replace("max_new_tokens: 8", "max_new_tokens: 9"), encoding="utf-8")
    _, page = told(tmp_path, place / "screen-run", again)
    at = page.rows.index(["max_new_tokens", "8", "9"])
    assert page.texts.index("max_new_tokens") < page.texts.index("no_repeat_ngram_size")
    assert not any(row[:1] == ["seed"] for row in page.rows[at:])


def test_an_unfinished_run_is_shown_with_what_is_there(runs, tmp_path):
    folder = runs("finetune")
    (folder / "result.json").unlink()
    result, page = told(tmp_path, folder, markdown=tmp_path / "LOG.md")
    (run,) = result.runs
    assert (run.finished, run.final_score, run.model) == (False, None, "tiny-bart")
    assert "Curves" in page.headings
    assert f"{folder} is unfinished: it has" in result.notes[0]
    assert "predictions.csv" in result.notes[0]
    assert "| unfinished |" in (tmp_path / "LOG.md").read_text("utf-8")


def change_data(folder, place):
    path = folder / "provenance.json"
    facts = json.loads(path.read_text("utf-8"))
    facts["data"]["sha256"] = "0" * 64
    path.write_text(json.dumps(facts), encoding="utf-8")


def remove_data(folder, place):
    path = folder / "provenance.json"
    path.write_text(path.read_text("utf-8").replace("dev.csv", "gone.csv"), encoding="utf-8")


def change_summaries(folder, place):
    path = folder / "result.json"
    result = json.loads(path.read_text("utf-8")) | {"sha256": "0" * 64}
    path.write_text(json.dumps(result), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [(change_data, "dev.csv' has changed since"), (remove_data, "there is no file"),
     (change_summaries, "lead3.csv' has changed since")],
)  # fmt: skip
def test_what_can_not_be_compared_is_said(change, words, runs, place, tmp_path):
    folder = runs("predict")
    change(folder, place)
    result, page = told(tmp_path, folder)
    assert result.systems == []
    (note,) = result.notes
    assert words in note
    assert note in page.texts


def test_a_score_that_is_no_more_what_the_run_says_is_told(runs, tmp_path):
    folder = runs("finetune")
    path = folder / "result.json"
    result = json.loads(path.read_text("utf-8"))
    result["after"]["final_score"] = 99.0
    path.write_text(json.dumps(result), encoding="utf-8")
    (note,) = told(tmp_path, folder)[0].notes
    assert note.endswith("where its run says 99.00.")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("result.json", "{", "result.json' is malformed: Invalid JSON"),
        ("result.json", '{"leaderboard": 1}', "result.json' is malformed: leaderboard: Input should be a valid array"),
        ("result.json", "\udcff", "result.json' is malformed: 'utf-8' codec"),
        ("provenance.json", "[]", "provenance.json' is malformed"),
        ("settings.yaml", "a: [", "settings.yaml' is malformed: while parsing"),
        ("settings.yaml", "seed: 1", "settings.yaml' holds the settings of no run"),
        ("settings.yaml", "merge: true\ncolumns: [a]", "settings.yaml' is malformed: columns: Input should be"),
        ("settings.yaml", "merge: true\nmodels: 5", "settings.yaml' is malformed: models: Input should be"),
        ("history.csv", "step,loss\n1,x\n", "history.csv' is malformed: could not convert"),
        ("history.csv", "step,loss\n1,2,3\n", "history.csv' is malformed: line 2: more fields than the header has"),
        ("history.csv", "loss\n1\n", "history.csv' is malformed: line 2: no step"),
        ("history.csv", "step,loss\n1,2\n,3\n", "history.csv' is malformed: line 3: no step"),
        ("history.csv", 'step,loss\n1,"2"x\n', "history.csv' is malformed: ',' expected"),
    ],
)
def test_a_damaged_file_is_one_clear_line(file, content, message, runs, tmp_path):
    folder = runs("screen")
    (folder / file).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        told(tmp_path, folder)
    assert "\n" not in str(raised.value)
    assert raised.value.remedy
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("file", ["settings.yaml", "result.json", "log.txt"])
def test_a_file_that_the_disk_will_not_give_is_one_clear_line(file, runs, tmp_path):
    folder = runs("screen")
    (folder / file).unlink()
    (folder / file).symlink_to("/proc/self/mem")  # which nobody can read from its start, not even root
    with pytest.raises(DataError, match=f"can't read '{folder / file}': Input/output error"):
        told(tmp_path, folder)


def test_a_folder_that_is_no_run_is_refused_and_runs_below_it_are_named(place, tmp_path):
    with pytest.raises(DataError, match="no run folder: it has no settings") as raised:
        told(tmp_path, place)
    assert "finetune-run" in raised.value.remedy
    with pytest.raises(DataError, match="nowhere' is no folder"):
        told(tmp_path, place / "nowhere")


def test_the_page_is_not_overwritten_unasked(place, tmp_path):
    (tmp_path / "page.html").write_text("mine", encoding="utf-8")
    with pytest.raises(RequestError, match="exists already"):
        report(ReportSettings(run_dirs=[place / "predict-run"], output=tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text("utf-8") == "mine"


def test_page_and_log_are_two_files(place, tmp_path):
    with pytest.raises(RequestError, match="both page and log"):
        told(tmp_path, place / "predict-run", markdown=tmp_path / "page.html")


@pytest.mark.parametrize("option", ["output", "markdown"])
@pytest.mark.parametrize(
    "file", ["predict-run/result.json", "predict-run/new.html", "lead3.csv", "dev.csv", "finetune-run/model/new.html",
             "train.csv", "sample.csv", "lead3-1.csv"],
)  # fmt: skip
def test_what_the_runs_hold_have_read_or_written_is_not_overwritten(option, file, place, tmp_path):
    place = shutil.copytree(place, tmp_path / "place")
    for folder in ("predict-run", "finetune-run"):  # runs that were made in this place
        for name in ("settings.yaml", "result.json"):
            path = place / folder / name
            path.write_text(
                re.sub(r"[^ \"']*/(dev|train|lead3)\.csv", rf"{place}/\1.csv", path.read_text("utf-8")), "utf-8"
            )
    settings, result = place / "predict-run" / "settings.yaml", place / "predict-run" / "result.json"
    settings.write_text(settings.read_text("utf-8").replace("template: null", f"template: {place}/sample.csv"), "utf-8")
    samples = {"samples": [str(place / "lead3-1.csv")]}
    result.write_text(json.dumps(json.loads(result.read_text("utf-8")) | samples), "utf-8")
    for name in ("sample.csv", "lead3-1.csv"):
        (place / name).write_text("mine", "utf-8")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    options = {"output": tmp_path / "page.html", option: place / "predict-run" / ".." / file}
    with pytest.raises(RequestError, match="is, or is in, what is read"):
        report(ReportSettings(run_dirs=[place / "predict-run", place / "finetune-run"], overwrite=True, **options))
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "page.html").exists()


def test_a_page_beside_the_runs_is_written(place, tmp_path):
    folder = shutil.copytree(place / "predict-run", tmp_path / "predict" / "run")
    settings = folder / "settings.yaml"
    settings.write_text(settings.read_text("utf-8").replace(f"output_dir: {place}", f"output_dir: {tmp_path}"), "utf-8")
    output = tmp_path / "predict" / "page.html"
    assert report(ReportSettings(run_dirs=[folder], output=output)).output.is_file()


def test_a_folder_is_no_page(place, tmp_path):
    for options in ({"output": tmp_path, "overwrite": True}, {"output": tmp_path / "p.html", "markdown": tmp_path}):
        with pytest.raises(RequestError, match=f"'{tmp_path}' is a folder"):
            report(ReportSettings(run_dirs=[place / "predict-run"], **options))


def moved(folder, place, name):
    """A run whose data had another path."""
    for file in ("settings.yaml", "provenance.json"):
        path = folder / file
        path.write_text(path.read_text("utf-8").replace(f"{place}/dev.csv", name), "utf-8")
    return folder


def test_data_are_looked_for_wherever_a_run_of_the_board_had_them(place, runs, tmp_path):
    copy, gone = tmp_path / "copy.csv", moved(runs("predict"), place, "/gone/dev.csv")
    shutil.copy(place / "dev.csv", copy)
    there = moved(runs("finetune"), place, str(copy))
    results = [told(tmp_path, *folders)[0] for folders in ((there, gone), (gone, there))]
    scores = [{system.model: (system.final_score, system.p_value) for system in each.systems} for each in results]
    assert scores[0] == scores[1]
    assert "lead3" in scores[0]
    assert [each.notes for each in results] == [[], []]
    copy.unlink()
    for folders in ((there, gone), (gone, there)):
        (note,) = told(tmp_path, *folders)[0].notes
        assert f"there is no file '{copy}'" in note
        assert "there is no file '/gone/dev.csv'" in note


def test_a_data_set_of_the_hub_is_the_same_for_every_command(dialsum, tmp_path):
    """`datasets` reads a folder `owner/name` as it reads the repository of that name."""
    (tmp_path / "kim" / "calls").mkdir(parents=True)
    shutil.copy(BUNDLED / "dev.csv", tmp_path / "kim" / "calls" / "dev.csv")
    own = {"env": {"HF_HOME": str(tmp_path / "home")}}
    data = ("--data", "kim/calls:validation", "--limit", 24)  # as `datasets` calls a file of that name
    dialsum("screen", "--models", "lead1", "--no-baselines", *data, **own)
    dialsum("predict", "--model", "lead3", *data, **own)
    folders = [path.parent for path in tmp_path.glob("runs/*/*/settings.yaml")]
    result = json.loads(dialsum("report", *folders, "--json", **own).stdout)
    assert (len(folders), result["notes"]) == (2, [])
    assert {system["model"] for system in result["systems"]} == {"lead1", "lead3"}
    assert sum(system["p_value"] is not None for system in result["systems"]) == 1
    assert len({system["data"] for system in result["systems"]}) == 1


def test_columns_are_renamed_in_the_files_that_had_them(place, runs, tmp_path):
    folder = runs("finetune")
    train = tmp_path / "번호.csv"
    train.write_text((place / "train.csv").read_text("utf-8").replace("fname", "번호", 1), "utf-8")
    settings = yaml.safe_load((folder / "settings.yaml").read_text("utf-8"))
    settings |= {"columns": {"fname": "번호"}, "train": str(train)}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
    renamed, _ = told(tmp_path, folder, place / "predict-run")
    asis, _ = told(tmp_path, place / "finetune-run", place / "predict-run")
    assert renamed.notes == asis.notes == []
    assert [system.p_value for system in renamed.systems] == [system.p_value for system in asis.systems]
    assert any(system.p_value is not None for system in renamed.systems)


def test_a_baseline_of_several_runs_counts_once(runs, place, tmp_path):
    result, _ = told(tmp_path, place / "screen-run", runs("screen"))
    assert sorted(system.model for system in result.systems) == ["lead1", "tiny-bart", "tiny-bart"]


def test_summaries_in_the_columns_of_a_template_are_read(place, tmp_path):
    template, output = tmp_path / "sample.csv", tmp_path / "out.csv"
    template.write_text("index,id,text\n", encoding="utf-8")
    options = {"model": "lead3", "data": str(place / "dev.csv"), "output": output, "output_dir": tmp_path / "predict"}
    run = predict(PredictSettings(template=template, **options)).run_dir
    scores = [told(tmp_path, folder)[0].systems[0].final_score for folder in (run, place / "predict-run")]
    assert scores[0] == scores[1]
    template.unlink()
    (note,) = told(tmp_path, run)[0].notes
    assert "sample.csv" in note


def test_the_log_keeps_what_is_filled_in_renews_the_rest_and_adds_runs(place, runs, tmp_path):
    log, first, second = tmp_path / "LOG.md", runs("screen"), runs("predict")
    told(tmp_path, first, second, markdown=log)
    lines = log.read_text("utf-8").splitlines()
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| screen", "| predict"]  # as found from the log's folder
    filled = "| screen  | my | own | words | on | it | here | 41.7 |"
    stale = re.sub(r"\d\d\.\d\d \(", "0 (", lines[-1])
    log.write_text("\n".join(["My notes.", *lines[:-2], filled, stale, "", "The end."]), encoding="utf-8")
    third = runs("finetune")
    told(tmp_path, first, second, third, markdown=log)
    after = log.read_text("utf-8").splitlines()
    assert after[0] == "My notes."
    assert after[-2:] == ["", "The end."]
    assert after[-5:-3] == [filled, lines[-1]]
    assert after[-3].startswith("| finetune |")
    told(tmp_path, third, second, first, markdown=log)
    assert log.read_text("utf-8").splitlines() == after


def test_a_score_that_was_known_stays_in_the_log(runs, tmp_path):
    log, folder = tmp_path / "LOG.md", runs("predict")
    told(tmp_path, folder, markdown=log)
    before = log.read_text("utf-8")
    change_summaries(folder, None)
    told(tmp_path, folder, markdown=log)
    assert log.read_text("utf-8") == before
    log.write_text(re.sub(r"\d\d\.\d\d \([^)]*\)", "unfinished", before), "utf-8")  # which it no more is
    told(tmp_path, folder, markdown=log)
    assert "unfinished" not in log.read_text("utf-8")


def test_what_is_typed_into_the_log_meanwhile_stays(runs, tmp_path):
    log, folder = tmp_path / "LOG.md", runs("predict")
    told(tmp_path, folder, markdown=log)
    filled = log.read_text("utf-8").replace(") |  |  |", ") |  | 41.7 |")

    class Typing(Reporter):
        def stage(self, title, total, unit):
            log.write_text(filled, "utf-8")
            return super().stage(title, total, unit)

    report(ReportSettings(run_dirs=[folder], output=tmp_path / "new.html", markdown=log), Typing())
    assert log.read_text("utf-8") == filled


@pytest.mark.parametrize("content", ["# Notes\n", "", "| a | b |\n|---|---|\n| 1 | 2 |\n", "\udcff"])
def test_a_file_that_is_no_log_is_left_alone(content, place, tmp_path):
    log = tmp_path / "NOTES.md"
    log.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"NOTES.md' (is no experiment log|can't be read)"):
        told(tmp_path, place / "predict-run", markdown=log)
    assert log.read_bytes() == content.encode(errors="surrogateescape")
    assert not (tmp_path / "page.html").exists()


CELLS = ("2026-01-01 00:00", "predict", "a|b\\ <i>*", "dev.csv (3)", "1.00 (0.0–2.0)", "seed 1")


def test_a_row_is_found_again_whatever_its_folder_is_called():
    names = ["a|b", "a\\|b", "a\\", "<b>`c`*", "한글 폴더", "x y", "x  y", " x y", "x\ny", "x\ty", "x&#32; y", "\udcff"]
    once = updated(None, dict.fromkeys(names, CELLS), "LOG.md")
    assert updated(once, dict.fromkeys(names, CELLS), "LOG.md") == once
    assert len(once.splitlines()) == 6 + len(names)
    dos = once.replace("\n", "\r\n")
    assert updated(dos, {"new": CELLS}, "LOG.md").count("\r\n") == dos.count("\r\n") + 1


def test_a_row_that_was_written_with_less_escaped_is_found_again():
    old = updated(None, {"my_run": CELLS}, "LOG.md").replace("my\\_run", "my_run")
    assert "| my_run |" in old
    assert len(updated(old, {"my_run": CELLS}, "LOG.md").splitlines()) == len(old.splitlines())


@pytest.mark.parametrize("name", ["&amp;", "~~x~~", "_w_", "*w*", "[a](b)", "a|b", "<i>", "`c`", "a\\b"])
def test_markdown_shows_a_name_to_the_letter(name):
    tokens = MarkdownIt().enable(["table", "strikethrough"]).parse(updated(None, {name: CELLS}, "LOG.md"))
    cells = [token.children for token in tokens if token.type == "inline"]
    assert [child.content for child in cells[len(HEADER) + 2]] == [name]


def test_dollars_are_no_formula():
    assert "| \\$a\\$ |" in updated(None, {"$a$": CELLS}, "LOG.md")


def test_a_row_with_other_cells_than_the_log_is_named():
    once = updated(None, {}, "LOG.md")
    with pytest.raises(DataError, match=f"line 7: 2 cells where the log has {len(HEADER)}"):
        updated(once + "| a | b |\n", {}, "LOG.md")
