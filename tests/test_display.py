"""Every result that a command returns: in the terminal, in Rich and in a notebook."""

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import get_type_hints

import pytest
from IPython.core.formatters import DisplayFormatter
from rich.cells import cell_len
from rich.console import Console

import dialsum_cli.cli
from dialsum_cli import (
    BUNDLED,
    CheckSettings,
    EnsembleSettings,
    FinetuneSettings,
    ModelsSettings,
    PredictSettings,
    ScoreSettings,
    ScreenSettings,
    check,
    ensemble,
    list_models,
    predict,
    score,
    screen,
    show_batch,
    show_prompt,
    tuned,
)
from dialsum_cli.command import Commands
from dialsum_cli.console import show
from dialsum_cli.display import Passage, as_html, as_text, parts
from dialsum_cli.results import (
    BatchesResult,
    CacheCleanResult,
    CachedModel,
    CheckResult,
    DataFacts,
    DoctorResult,
    DoctorRow,
    EnsembleResult,
    FinetuneResult,
    FinetuneRun,
    LeaderboardRow,
    ModelsResult,
    PredictResult,
    PromptsResult,
    ReportedRun,
    ReportResult,
    Result,
    ScoreResult,
    Scores,
    ScreenResult,
    ShownPrompt,
    TrainingPlan,
    TunedStage,
    TuneResult,
    TuneTrial,
)

HOSTILE = "<script>alert(1)</script>[bold]&amp;\t한글"
NAMES = {  # of each class, what its page has to say
    ScreenResult: ["Leaderboard", "lead1", "constant", "Final = mean of ROUGE-1/2/L"],
    PredictResult: ["Submission", "sha256", "submission.csv"],
    CheckResult: ["Check", "dialogues without a row", "Not fit to hand in"],
    ScoreResult: ["Scores", "b.csv", "What the score doesn't tell", "Lowest 1 of a.csv", "rows won"],
    EnsembleResult: ["Ensemble", "Agreement", "gain is unknown"],
    ModelsResult: ["Catalogue", "llama3b", "Qwen/Qwen2.5-7B-Instruct"],
    CacheCleanResult: ["Caches", "would free 5.0 MB", "owner/model"],
    FinetuneResult: ["Fine-tuning", "tiny-bart", "+2.00", "no memory"],
    PromptsResult: ["tiny-llama · prompt korean", "⟦", "ids:"],
    ReportResult: ["Runs · 1 on page.html", "runs/screen/1", "30.00", "kept no summaries"],
    DoctorResult: ["torch", "2.13.0", "no GPU", "pip install torch"],
    TuneResult: ["tiny-bart", "num_beams 4", "+2.00"],
    BatchesResult: ["tiny-bart · ", "⟪", "⟫ + ", "of padding"],
}


class Page(HTMLParser):
    """The text of a page whose tags match, with no element that runs or loads anything."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open, self.text = [], ""
        self.feed(markup)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "img", "link", "iframe")
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open[-1] != "style" else ""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One result of each class, by class: real ones, but for those that take a minute or tell of this machine."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        files = []
        for name, model in {"a.csv": "lead1", "b.csv": "lead2", "c.csv": "constant"}.items():
            predict(PredictSettings(model=model, output=Path(name)))
            files.append(Path(name))
        Path("short.csv").write_text("fname,summary\ntest_0,짧다.\n", encoding="utf-8")
        gold = BUNDLED / "test_references.csv"
        scores = Scores(rouge1=1, rouge2=1, rougeL=1, final_score=40, rouge_sum=3, ci95=(39, 41))
        after = scores.model_copy(update={"final_score": 42.0})
        runs = [
            FinetuneRun(model="tiny-bart", run_dir=folder, before=scores, after=after, gain=2.0, p_value=0.0001),
            FinetuneRun(model="kobart", status="failed", error="no memory"),
        ]
        checks = [
            DoctorRow(check="python", status="ok", found="3.11"),
            DoctorRow(check="torch", status="broken", found="2.13.0, no GPU", remedy="pip install torch"),
        ]
        trials = [
            TuneTrial(stage="decoding", number=number, status="ok", final_score=score, options={"num_beams": beams})
            for number, score, beams in ((0, 40.0, 1), (1, 42.0, 4))
        ]
        stage = TunedStage(
            stage="decoding", verdict="improvement", space={"num_beams": [1, 4]}, trials=trials, leader=1,
            best=Path("best.yaml"), importances={"num_beams": 1.0}, searched=60, held_out=60, before=scores,
            after=after,
            gain=2.0, gain_ci95=(1.0, 3.0), p_value=0.001, wins=40, ties=10, losses=10,
        )  # fmt: skip
        run = ReportedRun(
            folder="runs/screen/1", command="screen", finished=True, created="2026-01-01T00:00:00", model="tiny-bart",
            systems=1, data=None, final_score=30.0, ci95=(29.0, 31.0), settings={},
        )  # fmt: skip
        facts = DataFacts(path="dev.csv", sha256="0", rows=120)
        cached = CachedModel(cache="hub", name="owner/model", bytes=5_000_000, reason="not kept")
        made = [
            screen(ScreenSettings(models=["lead1"], limit=4)),
            predict(PredictSettings(model="lead1", limit=3)),
            check(CheckSettings(submission=Path("short.csv"))),
            score(ScoreSettings(files=[*files, gold], dialogues=BUNDLED / "test.csv", worst=1)),
            ensemble(EnsembleSettings(files=files)),
            list_models(ModelsSettings()),
            CacheCleanResult(freed_bytes=cached.bytes, deleted=[cached], kept=[], dry_run=True),
            FinetuneResult(runs=runs, signature="rouge-ko", floor={"constant sentence": 27.0}),
            DoctorResult(checks=checks),
            ReportResult(output="page.html", markdown=None, runs=[run], systems=[], notes=["it kept no summaries"]),
            TuneResult(
                model="tiny-bart",
                stages=[stage],
                signature="rouge-ko",
                data=facts,
                report=Path("report.html"),
                run_dir=folder,
            ),
            show_prompt(ScreenSettings(models=["tiny-llama"])),
            show_batch(FinetuneSettings(batch_size=2)),
        ]
    return {type(result): result for result in made}


def returned() -> set[type[Result]]:
    """The classes that commands return, and their switches."""
    runs = [run for _, run in Commands.registered.values()]
    runs += [run for switches in Commands.switches.values() for run in switches.values()]
    names = vars(dialsum_cli.cli)
    return {get_type_hints(run, names)["return"] for run in runs}


@pytest.mark.parametrize(
    ("gain", "p_value", "held_out", "few"),
    [(-2.0, 0.001, 19, False), (-0.1, 0.4, 19, True), (0.1, 0.4, 19, True), (0.1, 0.4, 20, False)],
)
def test_too_few_dialogues_are_an_excuse_for_no_loss_that_is_sure(results, gain, p_value, held_out, few):
    stage = (
        results[TuneResult]
        .stages[0]
        .model_copy(update={"verdict": "no improvement", "gain": gain, "p_value": p_value, "held_out": held_out})
    )
    assert ("too few to tell a small gain" in tuned.verdict(stage).plain) is few


def test_this_test_knows_every_result_that_a_command_returns(results):
    assert returned() == set(NAMES) == set(results)


@pytest.mark.parametrize("cls", NAMES, ids=lambda cls: cls.__name__)
def test_a_notebook_shows_a_result_as_its_tables(results, cls):
    bundle, _ = DisplayFormatter().format(results[cls])
    assert set(bundle) == {"text/plain", "text/html"}
    page = Page(bundle["text/html"])
    for name in NAMES[cls]:
        assert name in page.text
        assert "".join(name.split()) in "".join(bundle["text/plain"].split())


@pytest.mark.parametrize("cls", NAMES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("width", [60, 120])
def test_rich_shows_it_as_wide_as_its_page(results, cls, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(results[cls])
    lines = console.file.getvalue().splitlines()
    assert lines
    assert max(map(cell_len, lines)) <= width
    joined = "".join("".join(lines).split())
    assert "".join(NAMES[cls][0].split()) in joined


@pytest.mark.parametrize("cls", [cls for cls in NAMES if cls is not PromptsResult], ids=lambda cls: cls.__name__)
def test_the_terminal_shows_the_same(results, cls, monkeypatch):
    console = Console(file=io.StringIO(), width=100, color_system=None, highlight=False)
    monkeypatch.setattr("dialsum_cli.console.stdout", console)
    show(results[cls], as_json=False)
    assert "".join(console.file.getvalue().split()) == "".join(as_text(results[cls]).split())


def test_text_of_others_is_text_in_a_notebook(results, monkeypatch):
    row = LeaderboardRow(rank=None, model=HOSTILE, kind="causal", status="failed", error=HOSTILE)
    hostile = results[ScreenResult].model_copy(update={"leaderboard": [row]})
    prompt = ShownPrompt(
        model=HOSTILE, prompt="korean", text="", ids=[], control_ids=[], marked=HOSTILE, shortened=False
    )
    for result, times in ((hostile, 3), (PromptsResult(prompts=[prompt]), 2)):
        page = Page(as_html(result))
        assert page.text.count(HOSTILE) == times
        assert "[bold]" in as_text(result)


def test_a_passage_reaches_the_terminal_to_the_letter(monkeypatch):
    prompt = ShownPrompt(
        model="m", prompt=None, text="", ids=[], control_ids=[], marked=HOSTILE + "가" * 300, shortened=False
    )
    result = PromptsResult(prompts=[prompt])
    (_, passage) = parts(result)
    assert isinstance(passage, Passage)
    console = Console(file=io.StringIO(), width=40, color_system=None)
    monkeypatch.setattr("dialsum_cli.console.stdout", console)
    show(result, as_json=False)
    assert f"\n{HOSTILE}{'가' * 300}\n" in console.file.getvalue()


def test_in_a_kernel_the_plain_text_is_no_output_of_its_own(results, monkeypatch):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)  # Rich would display what is printed to a file
    assert "Leaderboard" in as_text(results[ScreenResult])


def test_what_is_no_result_of_a_command_shows_its_fields():
    plan = TrainingPlan(
        model="m", method="lora", precision="fp32", trainable_parameters=1, examples=1, steps=1, micro_batch_tokens=1,
        gradient_checkpointing=False, memory_bytes=None, minutes_an_epoch=1, minutes=1, disk_bytes=1,
    )  # fmt: skip
    assert "What the training takes" in as_text(plan)
    row = as_text(LeaderboardRow(rank=1, model="lead1", kind="baseline"))
    assert "LeaderboardRow" in row
    assert "tied with best" in row
