"""The examples: every YAML file parses and plans, those for a CPU run, and so does the contest, from first to last."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import BartConfig, LlamaConfig, T5Config

from dialsum_cli import registry
from dialsum_cli.command import Commands
from dialsum_cli.engines.choice import check_engine
from dialsum_cli.models.planning import choose_precision
from dialsum_cli.prompts import load_prompt
from dialsum_cli.registry import ModelSpec
from dialsum_cli.settings import (
    BUNDLED,
    CheckSettings,
    EnsembleSettings,
    FinetuneSettings,
    PredictSettings,
    ScreenSettings,
    Settings,
    TuneSettings,
)
from dialsum_cli.training.methods import choose

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = sorted([*EXAMPLES.glob("*.yaml"), *(EXAMPLES / "contest").glob("*.yaml")])
CONFIGS = {"bart": BartConfig, "t5": T5Config}


def usage(path: Path) -> list[str]:
    """What follows the program in the first line of a file, which says how it is used."""
    first = path.read_text("utf-8").splitlines()[0]
    return shlex.split(re.fullmatch(r"# (?:accelerate launch .* -m dialsum_cli|dialsum) (.*)", first)[1])


def planned(spec: ModelSpec) -> object:
    """A configuration of the model's family: what is decided by its shape needs the hub."""
    return CONFIGS.get(spec.family, LlamaConfig)()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_serves_the_command_of_its_first_line(path, monkeypatch):
    import typer

    from dialsum_cli.cli import app

    monkeypatch.chdir(path.parent if path.parent != EXAMPLES else EXAMPLES.parent)
    command, *arguments = usage(path)
    typer.main.get_command(app).get_command(None, command).make_context(command, list(arguments))
    config = Path(arguments[arguments.index("--config") + 1])
    assert config.resolve() == path
    settings_class, _ = Commands.registered[command]
    files = {"files": ["a.csv", "b.csv"]} if command == "ensemble" else {}
    files |= {"submission": "a.csv"} if command == "check" else {}
    settings = settings_class(config=config, **files)
    assert set(yaml.safe_load(path.read_text("utf-8"))) <= settings.model_fields_set
    plan(settings)


def plan(settings: Settings) -> None:
    """All of a command's checks that need no weights and no hub."""
    match settings:
        case ScreenSettings() | PredictSettings():
            check_engine(settings)
            load_prompt(settings.prompt)
            names = settings.models if isinstance(settings, ScreenSettings) else [settings.model]
            for spec in map(registry.resolve, names):
                assert choose_precision(spec, planned(spec), settings)[0] == "fp32"  # on this CPU
        case FinetuneSettings():
            for spec in map(registry.resolve, settings.models):
                assert spec.recipe is not None
                choices = choose(spec, planned(spec), settings)
                assert choices.recipe.method == ("full" if spec.kind == "seq2seq" else settings.method or "lora")
        case TuneSettings():
            assert registry.resolve(settings.model).recipe is not None
        case CheckSettings() | EnsembleSettings():
            pass
        case _:
            pytest.fail(f"no plan for {type(settings).__name__}")


def test_the_baseline_is_that_of_the_contest():
    settings = FinetuneSettings(config=EXAMPLES / "kobart-baseline.yaml")
    spec = registry.resolve(settings.models[0])
    recipe = choose(spec, planned(spec), settings).recipe
    assert (recipe.num_epochs, recipe.batch_size, recipe.learning_rate) == (20, 50, 1e-5)
    assert (recipe.scheduler, recipe.warmup_ratio, recipe.patience) == ("cosine", 0.1, 3)


def test_the_contest_fine_tunes_six_models_of_both_kinds():
    specs = [registry.resolve(name) for name in FinetuneSettings(config=EXAMPLES / "contest" / "finetune.yaml").models]
    assert len(specs) == 6
    assert {spec.kind for spec in specs} == {"causal", "seq2seq"}


def test_every_example_is_in_the_list():
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    for path in [*EXAMPLES.glob("*.yaml"), *EXAMPLES.glob("*.ipynb")]:
        assert f"]({path.name})" in listed
    steps = (EXAMPLES / "contest" / "run.sh").read_text("utf-8")
    assert all(path.name in steps for path in (EXAMPLES / "contest").glob("*.yaml"))


def write_part(name: str, path: Path, rows: int) -> None:
    with (BUNDLED / name).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        with path.open("w", encoding="utf-8", newline="") as part:
            writer = csv.DictWriter(part, reader.fieldnames)
            writer.writeheader()
            writer.writerows(row for _, row in zip(range(rows), reader, strict=False))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu-screen.yaml", "cpu-finetune.yaml"])
def test_what_is_for_a_cpu_runs_on_one(name, dialsum, tmp_path):
    command, *_ = usage(EXAMPLES / name)
    limits = {"screen": ["--limit", 4], "finetune": ["--train", "train.csv", "--dev", "dev.csv"]}[command]
    write_part("train.csv", tmp_path / "train.csv", 32)
    write_part("dev.csv", tmp_path / "dev.csv", 8)
    done = dialsum(command, "--config", EXAMPLES / name, *limits)
    assert "tiny-bart" in done.stdout


@pytest.mark.slow
def test_the_contest_runs_from_first_to_last_and_goes_on_where_it_ended(tmp_path):
    for name, rows in {"train.csv": 24, "dev.csv": 8, "test.csv": 8}.items():
        write_part(name, tmp_path / name, rows)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DIALSUM_MODELS": "tiny-bart,tiny-llama",
        "DIALSUM_TRIALS": "2",
        "DIALSUM_MAX_NEW_TOKENS": "60",
        "DIALSUM_WANDB": "off",
    }

    def run() -> subprocess.CompletedProcess[str]:
        command = ["bash", str(EXAMPLES / "contest" / "run.sh")]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    first = run()
    assert (tmp_path / "submission.csv").is_file(), first.stderr
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Fit to hand in" in first.stdout
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert {path.name for path in made} == {"screening.json", "finetuning.json", "tuning.json", "ensembling.json"}
    with (tmp_path / "submission.csv").open(encoding="utf-8") as file:
        assert [row["fname"] for row in csv.DictReader(file)] == [f"test_{number}" for number in range(8)]
    again = run()
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == made
