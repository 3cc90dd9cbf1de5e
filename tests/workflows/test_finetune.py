"""`dialsum finetune`: what it leaves behind is used as it was trained, and a run goes on only where it should."""

import csv
import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest
from heard import Heard
from tiny_models import make_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from dialsum_cli.data.dialogues import read_dialogues, read_gold
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.metrics.scoring import CONSTANT_SENTENCE, score
from dialsum_cli.models.trained import as_trained
from dialsum_cli.prompts import load_prompt
from dialsum_cli.prompts.chat import ChatPrompt
from dialsum_cli.registry import Recipe
from dialsum_cli.reporter import Reporter
from dialsum_cli.results import FinetuneRun, Scores
from dialsum_cli.runs import claim
from dialsum_cli.settings import BUNDLED, FinetuneSettings, PredictSettings
from dialsum_cli.workflows.finetune import _warn, finetune
from dialsum_cli.workflows.predict import predict
from dialsum_cli.workflows.show_prompt import show_prompt
from tests.workflows.test_main_job import put_in_hub

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
OWN_PROMPT = "system: 너는 요약가다.\nuser: |-\n  {dialogue}\n\n  한 문장으로.\nplain: 대화 {dialogue} 한 문장 요약"
TAGGED = "#Person1#과 #Person2#는 인사한다."


def write_data(path: Path, source: str, count: int, summary: str | None = None) -> Path:
    """The first turns of the shortest bundled dialogues, as a data file of their own."""
    with (BUNDLED / source).open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: len(row["dialogue"]))[:count]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["fname", "dialogue", "summary"])
        writer.writeheader()
        for row in rows:
            dialogue = "\n".join(row["dialogue"].split("\n")[:3])
            writer.writerow(
                {
                    "fname": row["fname"],
                    "dialogue": dialogue,
                    "summary": summary or row.get("summary", row.get("summary1")),
                }
            )
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with small data, a model, and a prompt of our own."""
    folder = tmp_path_factory.mktemp("place")
    write_data(folder / "train.csv", "train.csv", 16, TAGGED)
    write_data(folder / "dev.csv", "test.csv", 4, TAGGED)
    (folder / "prompt.yaml").write_text(OWN_PROMPT, encoding="utf-8")
    make_model(folder / "llama", "llama")
    return folder


def settings(place, model, **given):
    data = {"train": str(place / "train.csv"), "dev": str(place / "dev.csv"), "output_dir": place / "runs"}
    quick = {"num_epochs": 1, "batch_size": 8, "max_new_tokens": 12}
    return FinetuneSettings(models=[str(model)], **(data | quick | given))


def floor_of(path):
    """What the constant sentence scores."""
    return score([CONSTANT_SENTENCE] * 4, read_gold(str(path)).values()).final_score


@pytest.fixture(scope="module")
def tuned(place):
    """One adapter trained and merged in this process; the prompt's file and the base's working folder are gone."""
    prompt = place / "gone.yaml"
    shutil.copy(place / "prompt.yaml", prompt)
    reporter = Heard()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        result = finetune(
            settings(place, "llama", prompt=str(prompt), learning_rate=1e-2, num_epochs=2, merge=True), reporter
        )
    prompt.unlink()
    (run,) = result.runs
    assert (run.status, run.error) == ("ok", None)
    assert result.floor == {"constant sentence": floor_of(place / "dev.csv")}
    return run, reporter


def test_a_run_folder_says_what_was_done(place, tuned):
    run, reporter = tuned
    folder = run.run_dir
    assert (run.trainer, run.precision) == ("causal", "fp32")
    assert run.plan.method == "lora"
    assert json.loads((folder / "result.json").read_text())["model"] == "llama"
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["data"]["train"]["rows"] == 16
    assert provenance["recipe"]["learning_rate"] == 1e-2
    assert provenance["versions"]["peft"]
    history = read_rows(folder / "history.csv")
    scores = {int(row["step"]): float(row["final_score"]) for row in history if row["final_score"]}
    assert len(scores) == 2
    assert run.best_step == max(scores, key=scores.get)
    assert run.after.final_score == pytest.approx(scores[run.best_step], abs=0.01)
    assert any(row["loss"] and row["learning_rate"] for row in history)
    assert [row["fname"] for row in read_rows(folder / "predictions.csv")] == [
        row["fname"] for row in read_rows(place / "dev.csv")
    ]
    assert run.gain == pytest.approx(run.after.final_score - run.before.final_score)
    assert run.gain_ci95[0] <= run.gain <= run.gain_ci95[1]
    assert run.wins + run.ties + run.losses == 4
    assert any(warning.endswith("before: 4 dialogues are too few to tell") for warning in reporter.warnings)
    card = (folder / "model" / "README.md").read_text()
    assert card.startswith("---\n")
    assert "summarization" in card
    assert any("lora" in note for note in reporter.notes)


PROMISED = (
    "model status error run_dir trainer trainable_parameters train_seconds tokens_per_second peak_memory_gib "
    "best_step before after gain gain_ci95 p_value wins ties losses"
)


@pytest.mark.parametrize(
    ("before", "after", "counts", "p", "said"),
    [
        (32.0, 32.0, (0, 40, 0), 1.0, "learnt nothing"),
        (32.0, 33.0, (20, 5, 15), 0.3, "that may be chance, p = 0.300"),
        (33.0, 32.0, (15, 5, 20), 0.3, "that may be chance, p = 0.300"),
        (32.0, 39.0, (4, 0, 0), 0.125, "4 dialogues are too few to tell"),
        (50.0, 40.0, (0, 0, 40), 0.0001, "lower --learning-rate"),
        (10.0, 20.0, (40, 0, 0), 0.0001, "below the 27.00 of one sentence"),
        (30.0, 40.0, (40, 0, 0), 0.0001, None),
    ],
)
def test_what_a_training_was_for_is_said(before, after, counts, p, said):
    scores = [
        Scores(rouge1=0, rouge2=0, rougeL=0, final_score=each, rouge_sum=0, ci95=(0, 9)) for each in (before, after)
    ]
    numbers = dict(zip(("wins", "ties", "losses"), counts, strict=True))
    run = FinetuneRun(model="m", before=scores[0], after=scores[1], gain=after - before, p_value=p, **numbers)
    reporter = Heard()
    _warn(run, 27.0, reporter)
    assert [said in warning for warning in reporter.warnings] == ([True] if said else [])


def test_a_result_has_every_key_that_scripts_rely_on(tuned):
    run, _ = tuned
    written = json.loads((run.run_dir / "result.json").read_text())
    assert {*PROMISED.split()} <= written.keys()
    for scores in (written["before"], written["after"]):
        assert {"rouge1", "rouge2", "rougeL", "final_score", "rouge_sum"} <= scores.keys()


def test_settings_of_a_run_parse_back_and_name_their_sources(place, tuned, monkeypatch):
    monkeypatch.chdir(place)
    run, _ = tuned
    path = run.run_dir / "settings.yaml"
    parsed = FinetuneSettings(config=path)
    assert (parsed.learning_rate, parsed.method, parsed.precision, parsed.num_epochs) == (1e-2, "lora", "fp32", 2)
    assert parsed.models == ["llama"]
    again = path.with_name("again.yaml")
    again.write_text(parsed.to_yaml(), encoding="utf-8")
    assert FinetuneSettings(config=again).model_dump() == parsed.model_dump()
    again.unlink()
    lines = dict(line.split(": ", 1) for line in path.read_text(encoding="utf-8").splitlines() if ": " in line)
    assert all("  # " in lines[field.name] for field in fields(Recipe))
    assert lines["learning_rate"].endswith("# given")
    assert lines["lora_r"].endswith("# chat models below 6B")


def expected_ids(place, prompt):
    (dialogue,) = read_dialogues(place / "dev.csv", limit=1)
    return ChatPrompt(AutoTokenizer.from_pretrained(place / "llama"), load_prompt(prompt)).encode(dialogue.text).ids


@pytest.mark.parametrize("part", ["", "model"])
def test_a_fine_tuned_folder_is_asked_as_it_was_trained(place, tuned, tmp_path, part):
    run, _ = tuned
    reporter = Heard()
    data = {"model": str(run.run_dir / part), "data": str(place / "dev.csv")}
    (shown,) = show_prompt(PredictSettings(**data), reporter).prompts
    assert shown.ids == expected_ids(place, place / "prompt.yaml") != expected_ids(place, "korean")
    predict(PredictSettings(output=tmp_path / "out.csv", output_dir=tmp_path / "runs", **data), reporter)
    assert read_rows(tmp_path / "out.csv") == read_rows(run.run_dir / "predictions.csv")
    assert not any("prompt" in warning for warning in reporter.warnings)


def test_another_prompt_that_is_given_wins_and_is_warned_of(place, tuned, tmp_path):
    run, _ = tuned
    reporter = Heard()
    data = {"model": str(run.run_dir), "data": str(place / "dev.csv")}
    (shown,) = show_prompt(PredictSettings(prompt="short", **data), reporter).prompts
    assert shown.ids == expected_ids(place, "short")
    assert len(reporter.warnings) == 1
    assert "was trained with another prompt than --prompt short" in reporter.warnings[0]
    (tmp_path / "same.yaml").write_text(OWN_PROMPT, encoding="utf-8")
    show_prompt(PredictSettings(prompt=str(tmp_path / "same.yaml"), **data), reporter)  # by another name
    assert len(reporter.warnings) == 1
    other = OWN_PROMPT.replace("한 문장 요약", "요약")  # what a model without a chat template is given
    (tmp_path / "other.yaml").write_text(other, encoding="utf-8")
    show_prompt(PredictSettings(prompt=str(tmp_path / "other.yaml"), **data), reporter)
    assert len(reporter.warnings) == 2


def test_options_of_the_training_hold_until_others_are_given(tuned):
    run, _ = tuned
    ours, note = as_trained(PredictSettings(num_beams=3), run.run_dir / "model")
    assert (ours.max_new_tokens, ours.num_beams, note) == (12, 3, "")
    ours, _ = as_trained(PredictSettings(max_new_tokens=40), run.run_dir / "model")
    assert ours.max_new_tokens == 40
    assert load_prompt(ours.prompt).user.endswith("한 문장으로.")


def test_a_damaged_file_of_options_is_said_in_one_line(tuned, tmp_path):
    run, _ = tuned
    shutil.copytree(run.run_dir / "model", tmp_path / "model")
    (tmp_path / "model" / "dialsum.json").write_text('{"generation": ', encoding="utf-8")
    with pytest.raises(DialsumError, match=r"dialsum.json' is damaged") as error:
        as_trained(PredictSettings(), tmp_path / "model")
    assert "\n" not in str(error.value)


def test_merged_weights_need_no_adapter_and_write_its_summaries(place, tuned, tmp_path):
    run, reporter = tuned
    merged = run.run_dir / "merged"
    assert (merged / "model.safetensors").is_file()
    assert not (merged / "adapter_config.json").exists()
    model, report = AutoModelForCausalLM.from_pretrained(merged, output_loading_info=True)
    assert not any(report.values())
    assert type(model).__name__ == "LlamaForCausalLM"
    base = AutoModelForCausalLM.from_pretrained(place / "llama")
    changed = [name for name, weight in model.named_parameters() if not weight.equal(base.get_parameter(name))]
    assert any("q_proj" in name for name in changed)
    assert not any("embed" in name or "norm" in name or "lm_head" in name for name in changed)
    assert any("4 of 4 summaries are the adapter's to the letter" in note for note in reporter.notes)
    data = {"model": str(merged), "data": str(place / "dev.csv")}
    predict(PredictSettings(output=tmp_path / "out.csv", output_dir=tmp_path / "runs", **data))
    assert read_rows(tmp_path / "out.csv") == read_rows(run.run_dir / "predictions.csv")


def test_an_adapter_names_its_base_as_it_is_found_from_anywhere(place, tuned):
    run, _ = tuned
    adapter = json.loads((run.run_dir / "model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str((place / "llama").resolve())  # it was given as `llama`
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (16, 32, 0.1)
    layers = {name.rpartition(".")[2] for name in adapter["target_modules"]}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.slow
def test_an_adapter_of_a_hub_model_names_repository_and_commit_not_this_machines_cache(dialsum, place, tmp_path):
    put_in_hub(tmp_path / "home", "Qwen/Qwen3-4B-Instruct-2507", place / "llama", f"{7:040x}")
    env = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    data = ("--train", place / "train.csv", "--dev", place / "dev.csv", "--max-new-tokens", 8, "--num-epochs", 1)
    (run,) = json.loads(dialsum("finetune", "--models", "qwen4b", *data, "--json", env=env).stdout)["runs"]
    adapter = json.loads((tmp_path / run["run_dir"] / "model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "Qwen/Qwen3-4B-Instruct-2507"
    assert adapter["revision"] == f"{7:040x}"
    (tmp_path / "home").rename(tmp_path / "moved")  # as on another machine
    env["HF_HOME"] = str(tmp_path / "moved")
    dialsum("predict", "--model", run["run_dir"], "--data", place / "dev.csv", "--output", "out.csv", env=env)
    assert read_rows(tmp_path / "out.csv") == read_rows(tmp_path / run["run_dir"] / "predictions.csv")


CONFIGURATION = {"model": "llama", "train": "1a", "learning_rate": 1e-4}


def unfinished(root):
    with claim(root, CONFIGURATION, resume=True) as folder:
        pass
    return folder


def test_an_unfinished_run_is_taken_up_and_a_finished_one_left(tmp_path):
    folder = unfinished(tmp_path)
    assert unfinished(tmp_path) == folder
    (folder / "result.json").write_text("{}")
    other = unfinished(tmp_path)
    assert other != folder
    assert unfinished(tmp_path) == other


def test_an_unfinished_run_of_another_configuration_is_refused_by_its_keys_until_told_to_start_anew(tmp_path):
    folder = unfinished(tmp_path)
    (folder / "checkpoints" / "checkpoint-7").mkdir(parents=True)
    changed = CONFIGURATION | {"learning_rate": 2e-4, "train": "2b", "seed": 1}
    for _ in range(2):  # nothing stays locked by a refusal
        with (
            pytest.raises(RequestError, match=r"learning_rate 0.0001 \(now 0.0002\), seed None \(now 1\), train 1a"),
            claim(tmp_path, changed, resume=True),
        ):
            pass
    assert unfinished(tmp_path) == folder
    with claim(tmp_path, changed, resume=False) as other:
        assert other != folder
    with claim(tmp_path, changed, resume=True) as again:
        assert again == other


def test_a_run_without_a_checkpoint_stands_in_nobodys_way(tmp_path):
    folder = unfinished(tmp_path)
    with claim(tmp_path, CONFIGURATION | {"learning_rate": 2e-4}, resume=True) as other:
        assert other != folder


def test_an_unfinished_run_is_found_behind_one_that_is_finished(tmp_path):
    folder = unfinished(tmp_path)
    (folder / "checkpoints" / "checkpoint-7").mkdir(parents=True)
    with claim(tmp_path, CONFIGURATION | {"learning_rate": 2e-4}, resume=False) as other:
        (other / "result.json").write_text("{}")
    assert unfinished(tmp_path) == folder


HOLD = """
import sys, time
from pathlib import Path
from dialsum_cli.runs import claim
with claim(Path(sys.argv[1]), {"model": "llama", "train": "1a", "learning_rate": 1e-4}, resume=True) as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_run_that_is_alive_in_another_process_is_left_alone(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    theirs = Path(process.stdout.readline().strip())
    with claim(tmp_path, CONFIGURATION, resume=True) as ours:
        assert ours != theirs
        with claim(tmp_path, CONFIGURATION, resume=True) as third:
            assert third not in (ours, theirs)
    process.kill()  # and with it goes its claim
    process.communicate()
    shutil.rmtree(ours)
    shutil.rmtree(third)
    assert unfinished(tmp_path) == theirs


class Interrupting(Reporter):
    """Ctrl-C in the middle of training."""

    @contextmanager
    def stage(self, title, total, unit):
        if title.endswith("training"):
            raise KeyboardInterrupt
        with super().stage(title, total, unit) as stage:
            yield stage


@pytest.mark.parametrize(("changed", "key"), [
    ({"learning_rate": 3e-3}, "learning_rate"),
    ({"seed": 1}, "seed"),
    ({"prompt": "short"}, "prompt"),
    ({"columns": {"summary": "dialogue"}}, "columns"),
])  # fmt: skip
def test_what_would_train_something_else_does_not_go_on_with_an_unfinished_run(place, changed, key):
    root = place / "interrupted"
    if not root.exists():
        with pytest.raises(KeyboardInterrupt):
            finetune(settings(place, place / "llama", output_dir=root), Interrupting())
        (configuration,) = root.glob("*/*/configuration.json")
        (configuration.parent / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (run,) = finetune(settings(place, place / "llama", output_dir=root, **changed)).runs
    assert run.status == "failed"
    assert "unfinished run" in run.error
    assert f"{key} " in run.error
    assert len([*root.glob("*/*/configuration.json")]) == 1


def test_what_changes_nothing_of_the_training_goes_on_with_the_unfinished_run(place, tmp_path):
    for change in ({}, {"merge": True, "keep_checkpoints": 5, "checkpoint_minutes": 1.0, "batch_tokens": 900}):
        with pytest.raises(KeyboardInterrupt):
            finetune(settings(place, place / "llama", output_dir=tmp_path, **change), Interrupting())
    assert len([*tmp_path.glob("*/*/configuration.json")]) == 1


@pytest.mark.parametrize("models", [["lead2"], ["kobart", "lead2"]])
def test_a_baseline_is_refused_before_anything_else_is_done(place, tmp_path, models):
    with pytest.raises(RequestError, match="'lead2' is a baseline"):
        finetune(FinetuneSettings(models=models, output_dir=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_an_adapter_is_not_fine_tuned_again(place, tuned, tmp_path):
    run, _ = tuned
    (again,) = finetune(settings(place, run.run_dir, output_dir=tmp_path)).runs
    assert again.status == "failed"
    assert "is an adapter already" in again.error
