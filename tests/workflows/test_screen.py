"""Screening that fails, stops, is killed and goes on."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from frail import frail
from heard import Heard
from tiny_models import make_model
from transformers import LlamaConfig, LlamaForCausalLM

from dialsum_cli.errors import DataError
from dialsum_cli.results import LeaderboardRow, PreflightResult
from dialsum_cli.settings import ScreenSettings
from dialsum_cli.summarizer import Batch, Summary
from dialsum_cli.workflows.screen import Entry, _TimeUp, _Watch, rank, screen

TIMES = ("seconds", "dialogues_per_second", "estimated_seconds")


def timeless(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [make_model(folder / str(seed), "llama", seed=seed) for seed in range(3)]


def settings(tmp_path, *models, **options):
    values = {"limit": 8, "max_new_tokens": 8, "baselines": False, "output_dir": tmp_path / "runs"} | options
    return ScreenSettings(models=[str(model) for model in models], **values)


def too_many_tokens(folder):
    """A model whose tokenizer knows more tokens than its embedding has rows: its own code fails on them."""
    make_model(folder, "llama")
    config = LlamaConfig.from_pretrained(folder)
    config.vocab_size = 100
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_crash_in_a_models_code_is_its_row_and_the_others_run(models, tmp_path):
    heard = Heard()
    broken = too_many_tokens(tmp_path / "broken")
    ok, failed = screen(settings(tmp_path, broken, models[0]), heard).leaderboard
    assert (ok.model, ok.status, ok.rank) == (str(models[0]), "ok", 1)
    assert (failed.model, failed.status, failed.rank, failed.final_score) == (str(broken), "failed", None, None)
    assert "index out of range" in failed.error
    assert heard.warnings == [f"{broken} failed: {failed.error}"]
    log = next((tmp_path / "runs").glob("*/log.txt")).read_text()
    assert "IndexError" in log


LIMITED = """
import json, resource, sys
from pathlib import Path
from dialsum_cli.settings import ScreenSettings
from dialsum_cli.reporter import Reporter
from dialsum_cli.workflows.screen import screen

class Heard(Reporter):
    warnings = []
    def warn(self, message):
        self.warnings.append(message)

room, models, options = int(sys.argv[1]), sys.argv[2].split(","), json.loads(sys.argv[3])
screen(ScreenSettings(models=models[-1:], limit=1, max_new_tokens=1, output_dir="warm"))  # all that is loaded late
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
result = screen(ScreenSettings(models=models, baselines=False, **options), Heard())
print(json.dumps({"rows": [row.model_dump() for row in result.leaderboard], "warnings": Heard.warnings}))
"""


def limited(tmp_path, room, models, **options):
    """Screen in a process that may take `room` bytes more than it has once it can run."""
    command = [sys.executable, "-c", LIMITED, str(room), ",".join(map(str, models)), json.dumps(options)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to limit a process's memory")
def test_memory_that_runs_out_halves_the_batches_and_changes_no_summary(models, tmp_path):
    options = {"limit": 40, "max_new_tokens": 8}
    plenty = limited(tmp_path, 2**36, [models[0]], **options, output_dir=str(tmp_path / "plenty"))
    tight = limited(tmp_path, 8 * 2**20, [models[0]], **options, batch_tokens=10**6, output_dir=str(tmp_path / "tight"))
    (before,), (after,) = plenty["rows"], tight["rows"]
    assert before["batch_tokens"] == 16_384
    assert plenty["warnings"] == []
    assert 0 < after["batch_tokens"] < 40_000
    assert tight["warnings"][-1] == f"out of memory: batches of {after['batch_tokens']} tokens from here on"
    assert timeless([before | {"batch_tokens": 0}]) == timeless([after | {"batch_tokens": 0}])
    texts = [next((tmp_path / name).glob("*/predictions/*.csv")).read_bytes() for name in ("plenty", "tight")]
    assert texts[0] == texts[1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to limit a process's memory")
def test_a_model_that_does_not_fit_is_its_row_and_the_others_run(models, tmp_path):
    large = make_model(tmp_path / "large", "llama")
    config = LlamaConfig.from_pretrained(large)
    config.hidden_size, config.intermediate_size = 2048, 8192
    LlamaForCausalLM(config).save_pretrained(large)
    assert (large / "model.safetensors").stat().st_size > 400e6
    result = limited(tmp_path, 200 * 2**20, [large, models[0]], limit=4, max_new_tokens=8, output_dir="runs")
    ok, failed = result["rows"]
    assert (ok["model"], ok["status"]) == (str(models[0]), "ok")
    assert failed["status"] == "failed"
    assert failed["error"] == f"{large} does not fit into memory (try: use --precision nf4, or a smaller model)"


@pytest.mark.slow
def test_a_model_that_takes_too_long_is_stopped_and_goes_on_next_time(models, tmp_path):
    heard = Heard()
    undisturbed = screen(settings(tmp_path / "other", models[0], models[1])).leaderboard
    stopped = screen(settings(tmp_path, models[0], batch_tokens=1, max_minutes_per_model=1e-6), heard).leaderboard[0]
    assert (stopped.status, stopped.rank, stopped.summaries) == ("stopped", None, 1)
    assert stopped.final_score is stopped.rouge1 is stopped.ci95 is stopped.korean_ratio is None
    assert stopped.error.startswith("1 of 8 dialogues after 0.0 minutes")
    assert heard.warnings == [f"{models[0]} stopped: {stopped.error}"]
    assert not list((tmp_path / "runs").glob("*/predictions/*"))
    rows = screen(settings(tmp_path, models[0], models[1]), heard).leaderboard
    assert f"{models[0]}: 1 summaries are there from an earlier run" in heard.notes
    assert timeless([row.model_dump() for row in rows]) == timeless([row.model_dump() for row in undisturbed])


def test_the_same_screening_again_generates_nothing_and_shows_the_times_of_the_first(models, tmp_path):
    first = screen(settings(tmp_path, models[0])).leaderboard[0]
    (store,) = (tmp_path / "runs" / "summaries").iterdir()
    kept = store.read_bytes()
    heard = Heard()
    again = screen(settings(tmp_path, models[0]), heard).leaderboard[0]
    assert store.read_bytes() == kept
    assert heard.notes == [f"{models[0]}: 8 summaries are there from an earlier run"]
    assert again.seconds == pytest.approx(first.seconds)
    assert again.model_copy(update=dict.fromkeys(TIMES)) == first.model_copy(update=dict.fromkeys(TIMES))


def test_a_model_is_screened_once_whatever_it_is_called(models, tmp_path):
    both = ("tiny-bart", "skt/kogpt2-base-v2", "kogpt2", "tiny-bart")  # the hub can't be reached: its row says so
    rows = screen(settings(tmp_path, *both, limit=2)).leaderboard
    assert [row.model for row in rows] == ["tiny-bart", "kogpt2"]


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        (["tiny-bart"], {"prompt": "short"}, True),
        (["tiny-bart", "lead1"], {"prompt": "short"}, True),
        (["tiny-bart", "tiny-llama"], {"prompt": "short"}, False),
        (["tiny-bart"], {"prompt": "korean"}, False),  # as it says nothing in a run's settings.yaml
        (["tiny-bart"], {}, False),
    ],
)
def test_a_prompt_that_no_model_is_asked_with_is_told(tmp_path, names, options, told):
    heard = Heard()
    screen(settings(tmp_path, *names, limit=1, **options), heard)
    assert ("--prompt short is for chat models, and there is none among these" in heard.notes) is told


def test_unequal_references_are_told_by_file_and_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("fname,dialogue,summary1,summary2\na,#Person1#: 네.,가,나\nb,#Person1#: 네.,다,\n", "utf-8")
    with pytest.raises(DataError, match=r"a.csv' line 3 \(b\): 1 summary where the first row has 2"):
        screen(ScreenSettings(models=["lead1"], data=str(path), output_dir=tmp_path / "runs"))


def test_the_preflight_tells_what_each_model_needs(models, tmp_path):
    heard = Heard()
    screen(settings(tmp_path, models[0]), heard)
    (result,) = heard.previews
    assert isinstance(result, PreflightResult)
    (row,) = result.models
    assert (row.model, row.layers, row.precision, row.download_bytes) == (str(models[0]), 2, "fp32", 0)


def batches(*seconds, total=10.0):
    """Equal batches of one summary that take so long, out of `total` of them."""
    return [Batch([Summary(str(i), "")], total - i - 1, each) for i, each in enumerate(seconds)]


def watch(*seconds, max_minutes=None, reused=()):
    heard = Heard()
    watched = _Watch("solar", 48, 10, max_minutes, heard)
    for batch in (*reused, *batches(*seconds)):
        watched.see(batch)
    return watched, heard


def test_two_batches_tell_the_time_of_all():
    watched, heard = watch(9.0, 5.0)  # the first one warmed up
    assert watched.estimated_seconds == 9 + 5 + 8 * 5
    assert heard.notes == ["solar, 48 layers deep, will take about 40 s more, judging by its first two batches"]
    watched, heard = watch(9.0, 5.0, reused=[Batch([Summary("x", "")] * 3, seconds=70.0, reused=True)])
    assert watched.estimated_seconds == 70 + 9 + 5 + 8 * 5
    assert (watched.summaries, watched.seconds) == (5, 84.0)


def test_a_model_that_will_take_hours_is_a_warning_after_two_batches():
    _, heard = watch(4000.0, 4500.0)
    assert heard.warnings == [
        "solar, 48 layers deep, will take about 10.0 hours more, judging by its first two batches; "
        "--max-minutes-per-model stops it"
    ]
    _, heard = watch(5.0, 5.0, max_minutes=0.5)
    assert heard.warnings[0].endswith("; it will be stopped")


def test_a_watch_stops_between_batches_and_never_after_the_last():
    with pytest.raises(_TimeUp, match=r"3 of 10 dialogues after 2\.0 minutes"):
        watch(40.0, 40.0, 40.0, 40.0, max_minutes=2)
    watch(*[1.0] * 9, 500.0, max_minutes=2)
    watch(1.0, max_minutes=2, reused=[Batch([Summary("x", "")], seconds=500.0, reused=True)])


def entry(name, items, kind="causal"):
    return Entry(LeaderboardRow(rank=None, model=name, kind=kind, final_score=sum(items) / len(items)), items)


def test_ties_and_what_is_below_a_baseline():
    strong = [50.0 + i % 7 for i in range(60)]
    entries = [
        entry("weak", [10.0 + i % 5 for i in range(60)]),
        entry("lead1", [20.0 + i % 3 for i in range(60)], "baseline"),
        entry("close", [each + (1 if i % 2 else -1.1) for i, each in enumerate(strong)]),
        entry("lower", [each - 2 for each in strong]),
        Entry(LeaderboardRow(rank=None, model="failed", kind="causal", status="failed", error="x")),
        entry("best", strong),
    ]
    rows = rank(entries)
    assert [row.model for row in rows] == ["best", "close", "lower", "lead1", "weak", "failed"]
    assert [row.rank for row in rows] == [1, 2, 3, 4, 5, None]
    assert [row.tied_with_best for row in rows] == [True, True, False, False, False, None]
    assert [row.below_baseline for row in rows] == [False, False, False, False, True, False]


def test_one_model_alone_and_none():
    assert [row.rank for row in rank([entry("only", [1.0, 2.0])])] == [1]
    assert rank([]) == []


def lines(store):
    return store.read_text("utf-8").count('"batch_tokens"')


@pytest.mark.slow
def test_killed_in_the_middle_of_the_second_model_it_goes_on_from_there(models, tmp_path):
    arguments = ["screen", "--models", ",".join(map(str, models)), "--limit", "20", "--max-new-tokens", "60",
                 "--batch-tokens", "900", "--json"]  # fmt: skip

    def start(place, program=(sys.executable, "-m", "dialsum_cli"), code=0):
        command = [*program, *arguments, "--output-dir", str(tmp_path / place)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr
        return done

    def finish(place):
        done = start(place)
        return json.loads(done.stdout), done.stderr

    def written(result):
        folder = Path(result["run_dir"]) / "predictions"
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    undisturbed, _ = finish("undisturbed")
    whole = sorted((tmp_path / "undisturbed" / "summaries").iterdir(), key=os.path.getmtime)
    start("killed", frail("keep", lines(whole[0]) + 2, signal.SIGKILL), -signal.SIGKILL)
    stores = tmp_path / "killed" / "summaries"
    first = stores / whole[0].name
    assert lines(first) == lines(whole[0])
    before = {path: (lines(path), path.stat().st_mtime_ns) for path in stores.iterdir()}
    assert [number for path, (number, _) in before.items() if path != first] == [2]
    result, said = finish("killed")
    after = {path: (lines(path), path.stat().st_mtime_ns) for path in stores.iterdir()}
    assert len(after) == 3
    assert after[first] == before[first]  # nothing was generated for the first model
    reused = [int(number) for number in re.findall(r": (\d+) summaries are there from an earlier run", said)]
    assert reused[0] == 20
    assert 0 < reused[1] < 20
    assert len(reused) == 2
    assert timeless(result["leaderboard"]) == timeless(undisturbed["leaderboard"])
    assert written(result) == written(undisturbed)
    for path in stores.iterdir():
        batches = [json.loads(line) for line in path.read_text("utf-8").split("\n") if '"summaries"' in line]
        texts = [text for batch in batches for text in batch["summaries"]]
        assert len(texts) == len(set(texts)) == 20
