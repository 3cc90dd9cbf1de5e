"""`dialsum tune`: what is searched for is found, what is chance is called so, and no trial is lost or run twice."""

import io
import json
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from frail import frail
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tiny_models import make_model

from dialsum_cli import FinetuneSettings, PredictSettings, RequestError, TuneSettings, console, predict, tune
from dialsum_cli.command import parse
from dialsum_cli.data.dialogues import Dialogue, read_dialogues
from dialsum_cli.data.submissions import read_submission
from dialsum_cli.engines.choice import check_engine
from dialsum_cli.engines.huggingface import HuggingFaceSummarizer, open_summarizer
from dialsum_cli.errors import DataError, DialsumError, MemoryShortError
from dialsum_cli.metrics.scoring import Scorer
from dialsum_cli.models.trained import as_trained, save_options
from dialsum_cli.registry import FULL_SMALL, QLORA, resolve
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import BUNDLED, DECODING, TRAINING, Range
from dialsum_cli.summarizer import collect
from dialsum_cli.tuning import spaces
from dialsum_cli.tuning.halves import halves
from dialsum_cli.tuning.search import leader, search
from dialsum_cli.tuning.study import Study
from tests.workflows.test_finetune import TAGGED, write_data

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
SMALL = {"limit": 8, "max_new_tokens": 16}
SPACE = {"num_beams": [1, 2], "length_penalty": {"low": 0.5, "high": 2}, "max_new_tokens": {"low": 6, "high": 16}}


class Told(Reporter):
    """Remembers what was said; presses Ctrl-C when it hears a word."""

    def __init__(self, stop_at=None):
        self.said, self.stop_at = [], stop_at

    def note(self, message):
        self.said.append(message)
        if self.stop_at and message.startswith(self.stop_at):
            raise KeyboardInterrupt

    warn = note

    def stage(self, title, total, unit):
        self.note(title)
        return super().stage(title, total, unit)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shown(result, monkeypatch):
    """What the terminal shows, in 200 columns."""
    out, err = (Console(file=io.StringIO(), width=200, highlight=False) for _ in range(2))
    monkeypatch.setattr(console, "stdout", out)
    monkeypatch.setattr(console, "stderr", err)
    console.show(result, as_json=False)
    return out.file.getvalue() + err.file.getvalue()


def tried(stage):
    return [(trial.number, trial.status, trial.final_score, trial.options) for trial in stage.trials]


def test_a_real_improvement_is_found_said_and_written_for_predict(monkeypatch):
    told = Told()
    space = {"max_new_tokens": [8, 60]}
    result = tune(TuneSettings(model="tiny-bart", max_new_tokens=8, space=space, limit=24, trials=12), told)
    [stage] = result.stages
    assert [trial.options["max_new_tokens"] for trial in stage.trials] == [8, 60]  # and then there is nothing new
    assert any("nothing new was drawn after 2 trials" in each for each in told.said)
    assert (stage.verdict, stage.leader) == ("improvement", 1)
    assert stage.gain_ci95[0] < stage.gain < stage.gain_ci95[1]
    assert stage.gain == pytest.approx(stage.after.final_score - stage.before.final_score)
    assert stage.gain > 10
    assert stage.p_value < 0.001
    assert (stage.searched, stage.held_out, stage.wins + stage.ties + stage.losses) == (12, 12, 12)
    text = shown(result, monkeypatch)
    where = "trial 1 beside the starting point on 12 dialogues that the search did not see"
    assert f"Improvement in decoding: {where}: {stage.gain:+.2f}" in text
    assert "the starting point: max_new_tokens 8" in text
    assert f"dialsum predict --config {stage.best} --data TEST.csv" in text
    page = result.report.read_text(encoding="utf-8")
    assert all(words in page for words in ("Improvement in decoding", "best so far", "Trials, in their order"))
    assert json.loads((result.run_dir / "result.json").read_text(encoding="utf-8")) == result.model_dump(mode="json")

    settings = parse(
        PredictSettings,
        {"config": stage.best, "output": Path("held.csv"), "data": str(BUNDLED / "dev.csv"), "limit": 24},
    )
    assert (settings.model, settings.max_new_tokens) == ("tiny-bart", 60)
    predict(settings)
    seen, unseen = halves(read_dialogues(BUNDLED / "dev.csv", limit=24, references="equal"))
    summaries = read_submission("held.csv")
    for dialogues, score in ((seen, stage.trials[1].final_score), (unseen, stage.after.final_score)):
        scorer = Scorer([each.references for each in dialogues])
        assert scorer.score([summaries[each.fname] for each in dialogues]).final_score == pytest.approx(score)


def test_values_that_change_nothing_are_no_improvement(monkeypatch):
    space = {"max_new_tokens": [150, 155, 160]}
    result = tune(TuneSettings(space=space, limit=12))
    [stage] = result.stages
    assert len({trial.final_score for trial in stage.trials}) == 1
    assert (stage.verdict, stage.leader, stage.gain, stage.p_value, stage.ties) == ("no improvement", 0, 0, 1, 6)
    assert "No improvement in decoding: of 3 trials none scored above the starting point; keep it." in shown(
        result, monkeypatch
    )
    assert stage.best.read_text(encoding="utf-8").startswith("# the starting point")
    assert parse(PredictSettings, {"config": stage.best}).max_new_tokens == 160
    assert stage.importances == {}


def test_noise_that_leads_on_one_half_is_not_believed(monkeypatch):
    space = {"temperature": {"low": 0.95, "high": 1.05}}
    result = tune(TuneSettings(space=space, num_samples=1, limit=24, trials=3, max_new_tokens=30, seed=1))
    [stage] = result.stages
    assert stage.leader != 0  # the search was taken in
    assert stage.trials[stage.leader].final_score > stage.trials[0].final_score
    assert stage.verdict == "no improvement"
    text = shown(result, monkeypatch)
    assert "No improvement in decoding: trial" in text
    assert "Keep the starting point." in text
    best = parse(PredictSettings, {"config": stage.best})
    assert (best.num_samples, best.temperature) == (1, 1.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing disturbs, and its settings."""
    settings = TuneSettings(space=SPACE, trials=6, output_dir=tmp_path_factory.mktemp("whole"), **SMALL)
    result = tune(settings)
    assert result.stages[0].leader != 0, "or else no other trial is held out"
    return settings, result


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", ["trial 0:", "trial 3", "held out: the starting", "held out: t"])
def test_ctrl_c_anywhere_loses_and_repeats_no_trial(stop_at, whole, tmp_path):
    settings, whole = whole
    settings = settings.model_copy(update={"output_dir": tmp_path / "again"})
    told, again = Told(stop_at), Told()
    with pytest.raises(KeyboardInterrupt):
        tune(settings, told)
    result = tune(settings, again)
    assert [*(tmp_path / "again" / "tiny-bart").iterdir()] == [result.run_dir]
    scores = [each for each in told.said + again.said if each.startswith("trial") and " with " in each]
    assert sorted(each[: len("trial 0")] for each in scores) == [f"trial {number}" for number in range(6)]
    goes_on = {"trial 0:": "after trial 0,", "trial 3": "after trial 2,"}.get(stop_at, "after trial 5,")
    assert any(each.startswith("going on") and goes_on in each for each in again.said)
    assert tried(result.stages[0]) == tried(whole.stages[0])
    assert len({json.dumps(trial.options) for trial in result.stages[0].trials}) == 6
    assert result.stages[0].gain == whole.stages[0].gain
    assert tune(settings).run_dir != result.run_dir  # a finished search is not touched again


def test_an_unfinished_search_of_another_configuration_is_not_left_without_a_word(tmp_path):
    settings = TuneSettings(space=SPACE, trials=3, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        tune(settings, Told("trial 1:"))
    other = settings.model_copy(update={"seed": 7, "trials": 1})
    with pytest.raises(RequestError, match=r"another configuration: seed 42 \(now 7\)"):
        tune(other)
    fresh = tune(other.model_copy(update={"resume": False}))
    assert [trial.number for trial in fresh.stages[0].trials] == [0]
    result = tune(settings.model_copy(update={"trials": 2}))  # how many is no other search
    assert len(result.stages[0].trials) == 2
    assert len([*Path("runs/tune/tiny-bart").iterdir()]) == 2


class Bench:
    """Scores by a rule; counts how often each trial was run."""

    def __init__(self, rule):
        self.rule, self.runs = rule, []

    def measure(self, trial):
        self.runs.append(trial.number)
        return self.rule(trial)


def study(path, *, space=None, start=None, seed=42):
    start = start or {name: field.default for name, field in DECODING.items()}
    return Study(path / "study.db", "decoding", space or {"max_new_tokens": Range(low=8, high=4000)}, start, seed)


def fail_at(number, error):
    def rule(trial):
        if trial.number == number:
            raise error
        return float(trial.options["max_new_tokens"])

    return rule


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (MemoryError(), "pruned"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "pruned"),
        (MemoryShortError("out of memory on a single dialogue of 9 tokens"), "pruned"),
        (RequestError("it can't be done"), "failed"),
        (ValueError("of a library's own"), "failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_a_trials_own_fault_ends_that_trial_alone(tmp_path, error, state):
    folder = tmp_path / "한글 폴더 #1?%20"
    folder.mkdir()
    bench, told = Bench(fail_at(2, error)), Told()
    trials = search(study(folder), 5, bench, lambda trial, value: None, told)
    assert bench.runs == [0, 1, 2, 3, 4]
    assert [trial.state for trial in trials] == ["complete", "complete", state, "complete", "complete"]
    assert trials[2].reason
    assert trials[2].value is None
    assert any("trial 2" in each for each in told.said)
    assert leader(trials).value == max(trial.value for trial in trials if trial.value)
    assert [trial.options for trial in study(folder).trials] == [trial.options for trial in trials]


@pytest.mark.parametrize(
    ("number", "error"),
    [(0, ValueError("of a library's own")), (0, MemoryError()), (2, DialsumError("can't write 'x': disk full")),
     (2, OSError("disk full")), (2, KeyboardInterrupt())],
)  # fmt: skip
def test_what_is_no_trials_fault_ends_the_search_which_goes_on_later(tmp_path, number, error):
    with pytest.raises(type(error)):
        search(study(tmp_path), 4, Bench(fail_at(number, error)), lambda trial, value: None, Told())
    left = study(tmp_path).trials
    assert [trial.state for trial in left] == ["complete"] * number + ["running"]
    bench = Bench(fail_at(9, error))
    trials = search(study(tmp_path), 4, bench, lambda trial, value: None, Told())
    assert bench.runs == [*range(number, 4)]
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert trials[number].options == left[number].options


def test_what_a_library_raises_twice_in_a_row_is_the_machines_fault(tmp_path):
    def rule(trial):
        if trial.number in (1, 3, 4):
            raise RuntimeError("an illegal memory access was encountered")
        return float(trial.options["max_new_tokens"])

    with pytest.raises(RuntimeError):
        search(study(tmp_path), 9, Bench(rule), lambda trial, value: None, Told())
    assert [each.state for each in study(tmp_path).trials] == ["complete", "failed", "complete", "failed", "running"]


def test_a_full_disk_is_an_error_of_ours_and_the_study_stays_whole(tmp_path):
    here = study(tmp_path)
    search(here, 2, Bench(fail_at(9, ValueError())), lambda trial, value: None, Told())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        with pytest.raises(DialsumError, match=r"study\.db") as caught:
            here.next()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "disk" in caught.value.remedy
    assert [trial.state for trial in study(tmp_path).trials] == ["complete"] * 2


def test_a_database_that_is_none_is_an_error_of_ours(tmp_path):
    (tmp_path / "study.db").write_text("아무 글" * 1000, encoding="utf-8")
    with pytest.raises(DialsumError, match=r"study\.db"):
        study(tmp_path)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_small_spaces_are_tried_whole_and_nothing_twice(seed, tmp_path):
    space = {"num_beams": [1, 2], "length_penalty": [0.5, 1.0, 2.0], "no_repeat_ngram_size": [0, 3]}
    here = study(tmp_path, space=space, seed=seed)
    bench = Bench(lambda trial: float(trial.options["num_beams"]))
    trials = search(here, 50, bench, lambda trial, value: None, Told())
    tried = {tuple(trial.options[name] for name in space) for trial in trials}
    assert len(tried) == len(trials) == 2 * 1 + 2 * 3  # a penalty means nothing without beams
    assert {penalty for beams, penalty, _ in tried if beams == 1} == {1.0}


def test_a_search_learns_from_its_trials_and_tells_what_mattered(tmp_path):
    space = {"max_new_tokens": Range(low=8, high=400), "no_repeat_ngram_size": [0, 2, 3, 4]}
    bench = Bench(lambda trial: -abs(trial.options["max_new_tokens"] - 300.0))
    here = study(tmp_path, space=space)
    trials = search(here, 40, bench, lambda trial, value: None, Told())
    late = sum(trial.value for trial in trials[20:]) / 20
    early = sum(trial.value for trial in trials[:6]) / 6
    assert late > early / 2
    importances = here.importances()
    assert [*importances] == ["max_new_tokens", "no_repeat_ngram_size"]
    assert sum(importances.values()) == pytest.approx(1)
    assert importances["max_new_tokens"] > 0.6


def test_a_start_outside_the_space_is_tried_all_the_same(tmp_path):
    start = {name: field.default for name, field in DECODING.items()} | {"max_new_tokens": 5000}
    here = study(tmp_path, start=start)
    trials = search(here, 3, Bench(fail_at(9, ValueError())), lambda trial, value: None, Told())
    assert trials[0].options == start
    assert all(8 <= trial.options["max_new_tokens"] <= 4000 for trial in trials[1:])


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("{num_beems: [1]}", "did you mean 'num_beams'?"),
        ("{batch_tokens: [8]}", "nothing to search for"),
        ("{num_beams: []}", "'num_beams' has no value to try"),
        ("{num_beams: [0]}", "greater than or equal to 1"),
        ("{num_beams: [1, 1]}", "has 1 twice"),
        ("{num_beams: 4}", "write [a, b], or low, high"),
        ("{num_beams: [1], num_beams: [2]}", "there twice"),
        ("{prompt: {low: 1, high: 2}}", "is no number"),
        ("{num_beams: {low: 1}}", "'num_beams.high': Field required"),
        ("{num_beams: {low: 1, high: 4, steps: 2}}", "num_beams.steps"),
        ("{num_beams: {low: 4, high: 1}}", "low must be less than high"),
        ("{num_beams: {low: 1, high: 4, step: 0.5}}", "so has its step to be"),
        ("{top_p: {low: 0.5, high: 1, step: 0.3}}", "no number of steps"),
        ("{learning_rate: {low: 0.1, high: 1, log: true, step: 0.1}}", "log needs"),
        ("{num_epochs: [null]}", "null is no value"),
        ("[num_beams]", "write it as"),
        ("{a: [", "write it as"),
    ],
)
def test_what_is_no_space_is_refused(space, words):
    with pytest.raises(RequestError, match="--space") as caught:
        parse(TuneSettings, {"space": space})
    assert words in str(caught.value)


def test_numbers_of_a_space_are_numbers_however_yaml_writes_them():
    space = parse(
        TuneSettings, {"space": "{learning_rate: [2e-4, 1e-3], num_epochs: [3], num_samples: [null, 2]}"}
    ).space
    assert space == {"learning_rate": [2e-4, 1e-3], "num_epochs": [3.0], "num_samples": [None, 2]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "lead1"}, "nothing to tune"),
        ({"learning_rate": 1e-4}, "--learning-rate means nothing to --stage decoding"),
        ({"train": "b.csv"}, "--train means nothing"),
        ({"stage": "training", "num_samples": 2}, "--num-samples means nothing to --stage training"),
        ({"space": {"learning_rate": [1e-4]}}, "learning_rate means nothing to --stage decoding"),
        ({"stage": "training", "space": {"num_beams": [1]}}, "num_beams means nothing to --stage training"),
        ({"stage": "both", "space": {"num_samples": [None, 2]}}, "num_samples means nothing to --stage both"),
        ({"space": {"prompt": ["korean", "short"]}}, "prompt means nothing"),
        ({"space": {"prompt": ["koreann"]}}, "no prompt named"),
        ({"space": {"length_penalty": [0.5, 1]}}, "length_penalty needs beams"),
        ({"length_penalty": 0.5, "space": {"max_new_tokens": [9]}}, "length_penalty needs beams"),
        ({"space": {"temperature": [0.5, 1]}}, "temperature needs samples"),
        ({"num_samples": 2, "num_beams": 4}, "num_beams needs no samples"),
        ({"stage": "training", "space": {"lora_r": [4, 8]}}, "lora_r needs an adapter"),
    ],
)
def test_what_would_mean_nothing_is_refused_before_any_work(options, words):
    with pytest.raises(RequestError) as caught:
        tune(TuneSettings(**options))
    assert words in str(caught.value)
    assert not Path("runs").exists()


def test_options_that_mean_nothing_beside_others_are_not_tried():
    start = {name: field.default for name, field in DECODING.items()}
    space = {"num_samples": [None, 2], "num_beams": [1, 4], "length_penalty": [2.0], "temperature": [0.5]}
    options, picked = spaces.draw(space, start, lambda name, entry: entry[-1])
    assert picked == ["num_samples", "temperature"]
    assert (options["num_beams"], options["length_penalty"], options["temperature"]) == (1, 1.0, 0.5)
    options, picked = spaces.draw(space, start, lambda name, entry: entry[0 if name == "num_samples" else -1])
    assert picked == ["num_samples", "num_beams", "length_penalty"]
    assert (options["num_beams"], options["length_penalty"], options["temperature"]) == (4, 2.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "known", "names"),
    [
        ("seq2seq", {"stepped": False}, {"num_beams", "length_penalty", "no_repeat_ngram_size", "max_new_tokens"}),
        ("causal", {"stepped": True}, {"prompt", "max_new_tokens"}),
        ("causal", {"stepped": False}, {"prompt", "max_new_tokens", "num_beams", "length_penalty"}),
        ("causal", {"stepped": True, "trained": True}, {"max_new_tokens"}),
        ("causal", {"stepped": True, "num_samples": 8}, {"prompt", "max_new_tokens", "temperature", "top_p"}),
    ],
)
def test_the_default_space_is_what_means_something_to_a_model(kind, known, names):
    known = {"trained": False} | known
    start = {name: field.default for name, field in DECODING.items()} | {"num_samples": known.pop("num_samples", None)}
    space = spaces.default_decoding(kind, start, **known)
    assert space.keys() == names
    spaces.check(space, start, kind)


@pytest.mark.parametrize(("recipe", "adapter"), [(QLORA, True), (FULL_SMALL, False)])
def test_the_default_space_of_training_has_ranks_for_adapters_alone(recipe, adapter):
    space = spaces.default_training(recipe)
    assert ("lora_r" in space, "lora_dropout" in space) == (adapter, adapter)
    assert space.keys() <= TRAINING.keys()
    assert space["learning_rate"].low < recipe.learning_rate < space["learning_rate"].high


def test_a_length_penalty_is_for_beams_and_changes_what_they_write(tmp_path):
    dialogues = read_dialogues(BUNDLED / "dev.csv", limit=6)
    with open_summarizer(resolve("tiny-bart"), PredictSettings(), Reporter()) as (_, loaded):
        lengths, stores = [], set()
        for penalty in (-3.0, 1.0, 3.0):
            settings = PredictSettings(num_beams=3, length_penalty=penalty)
            engine = HuggingFaceSummarizer(loaded, settings, print)
            lengths.append(sum(len(each.text) for each in collect(engine, dialogues, lambda batch: None)))
            stores.add(json.dumps(engine.ingredients(), sort_keys=True))
        assert lengths == sorted(lengths)
        assert lengths[0] < lengths[-1]
        assert len(stores) == 3
        with pytest.raises(RequestError, match="--length-penalty means nothing without beams"):
            HuggingFaceSummarizer(loaded, PredictSettings(length_penalty=2.0), print)
    for engine in ({"engine": "vllm"}, {"base_url": "http://127.0.0.1:1/v1", "api_model": "m"}):
        with pytest.raises(RequestError, match="--length-penalty means nothing to"):
            check_engine(PredictSettings(length_penalty=2.0, **engine))


@pytest.mark.parametrize(("given", "penalty"), [({}, 0.7), ({"num_beams": 1}, 1.0), ({"length_penalty": 2.0}, 2.0)])
def test_a_model_trained_with_a_length_penalty_keeps_it_as_long_as_it_has_beams(tmp_path, given, penalty):
    save_options(tmp_path, PredictSettings(num_beams=4, length_penalty=0.7), {})
    assert as_trained(PredictSettings(**given), tmp_path)[0].length_penalty == penalty


@given(texts=st.lists(st.sampled_from("가나다라마바사아자차"), min_size=2, max_size=30), order=st.randoms())
def test_dev_is_halved_by_its_texts_whatever_their_order(texts, order):
    dialogues = [Dialogue(f"dev_{number}", text, references=("요약",)) for number, text in enumerate(texts)]
    if len(set(texts)) < 2:
        with pytest.raises(DataError, match="two different dialogues"):
            halves(dialogues)
        return
    seen, unseen = halves(dialogues)
    assert sorted(each.fname for each in (*seen, *unseen)) == sorted(each.fname for each in dialogues)
    assert not {each.text for each in seen} & {each.text for each in unseen}
    assert 0 <= len({each.text for each in seen}) - len({each.text for each in unseen}) <= 1
    shuffled = [*dialogues]
    order.shuffle(shuffled)
    assert {each.fname for each in halves(shuffled)[0]} == {each.fname for each in seen}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Small data to train on and to judge by, and two models that know nothing."""
    folder = tmp_path_factory.mktemp("place")
    write_data(folder / "train.csv", "train.csv", 8, TAGGED)
    write_data(folder / "dev.csv", "test.csv", 6, TAGGED)
    make_model(folder / "llama", "llama")
    return folder


def training_settings(place, **options):
    return TuneSettings(
        **{
            "model": str(place / "llama"), "stage": "training", "train": str(place / "train.csv"),
            "dev": str(place / "dev.csv"), "prompt": "short", "max_new_tokens": 12, "num_epochs": 2, "batch_size": 8,
            "method": "full", "precision": "fp32", "trials": 3, "block_foreign": False,
            "space": {"learning_rate": Range(low=1e-6, high=1e-2, log=True), "scheduler": ["linear", "cosine"]},
        }
        | options
    )  # fmt: skip


@pytest.mark.slow
def test_trainings_are_trials_too_and_an_interrupted_one_goes_on(place, monkeypatch):
    settings = training_settings(place)
    told = Told(f"{settings.model}: after")  # of the first training: it is done but for its last evaluation
    with pytest.raises(KeyboardInterrupt):
        tune(settings, told)
    told = Told("trial 1:")
    with pytest.raises(KeyboardInterrupt):
        tune(settings, told)
    assert not any(each.startswith(f"{settings.model}: training") for each in told.said[:4])
    moved = settings.output_dir.rename("moved")
    [begun] = moved.glob("*/*/training/000/*/*")
    left = begun.parents[2] / "009" / begun.parent.name / "left" / "checkpoints"  # as by a trial that came to nothing
    left.mkdir(parents=True)
    result = tune(settings.model_copy(update={"output_dir": moved}))
    assert not left.exists()
    [stage] = result.stages
    assert [(trial.number, trial.status) for trial in stage.trials] == [(0, "ok"), (1, "ok"), (2, "ok")]
    assert (stage.searched, stage.held_out) == (3, 3)
    runs = [path.parent for path in sorted(result.run_dir.glob("training/*/*/*/result.json"))]
    assert len(runs) == 3  # one folder for each: none was begun anew
    kept = [number for number, run in enumerate(runs) if (run / "model").exists()]
    assert kept == sorted({0, stage.leader})
    assert not any((run / "checkpoints").exists() for run in runs)
    assert stage.model == runs[stage.leader if stage.verdict == "improvement" else 0]
    assert f"dialsum predict --model {stage.model}" in shown(result, monkeypatch)
    best = parse(FinetuneSettings, {"config": stage.best})
    assert (best.models, best.num_epochs, best.prompt) == ([settings.model], 2, "short")
    assert (best.train, best.dev) == (settings.train, settings.dev)
    chosen = stage.trials[runs.index(stage.model)].options
    assert {name: getattr(best, name) for name in chosen} == chosen


@pytest.mark.slow
def test_a_training_after_decoding_is_judged_as_decoding_was_best(place):
    space = {"max_new_tokens": [8, 12], "learning_rate": [1e-3]}
    result = tune(training_settings(place, stage="both", trials=2, max_new_tokens=8, space=space))
    decoding, training = result.stages
    assert [len(stage.trials) for stage in result.stages] == [2, 2]
    chosen = decoding.trials[decoding.leader if decoding.verdict == "improvement" else 0].options
    assert parse(FinetuneSettings, {"config": training.best}).max_new_tokens == chosen["max_new_tokens"]
    assert parse(PredictSettings, {"config": decoding.best}).max_new_tokens == chosen["max_new_tokens"]
    assert {trial.stage for trial in result.records()} == {"decoding", "training"}


def test_a_failing_training_is_a_failed_trial_with_its_reason(place, monkeypatch):
    space = {"method": ["full", "qlora"]}  # 4-bit weights, and --precision fp32
    result = tune(training_settings(place, space=space, trials=4))
    [stage] = result.stages
    assert [trial.status for trial in stage.trials] == ["ok", "failed"]
    assert "--precision fp32" in stage.trials[1].error
    assert "Trial 1 failed" in shown(result, monkeypatch)


def test_without_optuna_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    from dialsum_cli.errors import MissingPartError

    with pytest.raises(MissingPartError) as caught:
        tune(TuneSettings())
    assert "dialsum[tune]" in caught.value.remedy


def finished_trials(folder):
    """How many trials of the one search below a folder have a score."""
    (path,) = folder.glob("*/study.db")
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("select count(*) from trials where state = 'COMPLETE'").fetchone()[0]


@pytest.mark.slow
def test_killed_again_and_again_a_search_goes_on_without_a_scratch(tmp_path):
    settings = TuneSettings(output_dir=tmp_path / "whole", trials=6, space=SPACE, limit=24, max_new_tokens=40)
    whole = tune(settings)
    arguments = [
        "tune", "--trials", "6", "--space", json.dumps(SPACE), "--limit", "24", "--max-new-tokens", "40",
        "--output-dir", str(tmp_path / "killed"), "--json",
    ]  # fmt: skip
    database = tmp_path / "killed" / "tiny-bart"
    for more, finished in ((1, 1), (2, 3), (1, 4)):  # a trial's summaries are one batch, which is kept at once
        killed = subprocess.run([*frail("keep", more, signal.SIGKILL), *arguments], capture_output=True)
        assert (killed.returncode, finished_trials(database)) == (-signal.SIGKILL, finished)
    command = [sys.executable, "-m", "dialsum_cli", *arguments]
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    assert len([*database.iterdir()]) == 1
    [stage] = json.loads(out)["stages"]
    [ours] = whole.stages
    assert [(each["number"], each["final_score"], each["options"]) for each in stage["trials"]] == [
        (trial.number, trial.final_score, trial.options) for trial in ours.trials
    ]
    assert (stage["gain"], stage["verdict"]) == (ours.gain, ours.verdict)


@pytest.mark.slow
def test_a_search_with_hardly_anything_given_takes_half_of_dev(dialsum):
    assert TuneSettings().trials == 12
    done = dialsum("tune", "--model", "tiny-bart", "--trials", 3, "--json")
    [stage] = json.loads(done.stdout)["stages"]
    assert [trial["number"] for trial in stage["trials"]] == [0, 1, 2]
    assert stage["searched"] + stage["held_out"] == 120
