import json
import os
import pty
import re
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Timer

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from dialsum_cli import __version__
from dialsum_cli.caches.roots import all_paths
from dialsum_cli.cli import app
from dialsum_cli.command import Commands, execute
from dialsum_cli.console import TerminalReporter, fail, next_step, show
from dialsum_cli.errors import RequestError
from dialsum_cli.registry import resolve
from dialsum_cli.results import (
    DataFacts,
    FinetuneResult,
    FinetuneRun,
    LeaderboardRow,
    ModelsResult,
    Scores,
    ScreenResult,
)
from dialsum_cli.settings import BUNDLED, FinetuneSettings, ModelsSettings, ScreenSettings, is_positional
from tests.conftest import OWN

HEAVY = {
    "torch",
    "transformers",
    "pandas",
    "wandb",
    "peft",
    "datasets",
    "bitsandbytes",
    "accelerate",
    "mecab",
    "pyarrow",
}
ESCAPE = "\x1b"

HELP_OF_ALL = f"""
import io, json, sys
from contextlib import redirect_stdout
from dialsum_cli.cli import main
from dialsum_cli.command import Commands
seen = {{}}
for arguments in ([], ["--version"], *([name] for name in Commands.registered)):
    sys.argv = ["dialsum", *arguments, "--help"]
    with redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit as exit:
            code = exit.code
    seen[" ".join(arguments)] = [code, out.getvalue(), sorted({HEAVY!r} & set(sys.modules))]
print(json.dumps(seen))
"""


@pytest.fixture(autouse=True)
def in_a_folder_with_a_blank(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "빈 칸").mkdir()
    (tmp_path / "빈 칸" / "대화 [1].csv").write_text("fname,dialogue\na,#Person1#: 안녕?\nb,#Person2#: 네.\n", "utf-8")


@pytest.fixture(scope="module")
def helps():
    """Exit code, output and heavy modules of each `--help`, all from one process: what one imports, all show."""
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


def invoke(*arguments, **env):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="dialsum", env=env)


@pytest.mark.parametrize("command", ["", *Commands.registered])
def test_help_imports_nothing_heavy_and_names_every_option(helps, command):
    code, text, heavy = helps[command]
    assert code == 0
    assert heavy == []
    assert f"Usage: dialsum {command}".rstrip() in text
    if not command:
        assert all(name in text for name in Commands.registered)
        return
    for name, field in Commands.registered[command][0].model_fields.items():
        option = name if is_positional(field) else f"--{name.replace('_', '-')}"
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), option


@pytest.mark.parametrize("command", ["", *Commands.registered])
def test_help_shows_no_markup_and_no_path_of_this_machine(helps, command):
    text = helps[command][1]
    assert "[dim]" not in text
    assert os.path.dirname(sys.prefix) not in text
    assert ESCAPE not in text


def test_version():
    done = invoke("--version")
    assert (done.exit_code, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scren"], "Did you mean 'screen'"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["screen", "--modles", "x"], "--models"),
        (["predict", "--limit", "many"], "--limit"),
        (["predict", "--limit"], "--limit"),
        (["predict", "extra"], "extra"),
        (["score"], "files"),
        (["predict", "--precision", "int8"], "nf4"),
    ],
)
def test_what_typer_refuses(arguments, message):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (["screen", "--models", "lama3b"], "no model 'lama3b'", "did you mean 'llama3b'?"),
        (["predict", "--model", ""], "no model ''", "dialsum models"),
        (["models", "[/INST]"], "no model '[/INST]'", "dialsum models"),
        (["predict", "--model", "lead1", "--data", "없는 [파일].csv"], "there is no file '없는 [파일].csv'", "check"),
        (["predict", "--model", "lead1", "--data", "빈 칸"], "'빈 칸' is a folder", "CSV"),
        (["predict", "--model", "lead1", "--limit", "0"], "--limit: ", "dialsum predict --help"),
        (
            ["predict", "--model", "lead1", "--output", "빈 칸/대화 [1].csv"],
            "'빈 칸/대화 [1].csv' exists",
            "--overwrite",
        ),
        (["predict", "--config", "no.yaml"], "--config: can't read 'no.yaml'", "YAML"),
        (["score", "빈 칸/대화 [1].csv", "없는 [파일].csv"], "there is no file '없는 [파일].csv'", "check"),
        (["score", "빈 칸/대화 [1].csv"], "FILES: give prediction files, then the gold file", "dialsum score --help"),
        (["cache-clean", "--keep", "lama3b"], "no model 'lama3b'", "did you mean 'llama3b'?"),
    ],
)
def test_a_wrong_request_is_two_lines_and_exit_2(arguments, message, remedy, json_flag):
    done = invoke(*arguments, *json_flag)
    assert done.exit_code == 2
    assert done.stdout == ""
    what, what_next = done.stderr.splitlines()
    assert what.startswith("Error: ")
    assert message in what
    assert what_next.startswith("  Try: ")
    assert remedy in what_next


def test_a_place_that_cannot_be_written_is_exit_1():
    open("file", "w").close()
    done = invoke("predict", "--model", "lead1", "--output-dir", "file")
    assert done.exit_code == 1
    assert [line[:8] for line in done.stderr.splitlines()] == ["Error: c", "  Try: g"]


def test_debug_shows_the_traceback():
    done = invoke("models", "nothing", "--debug")
    assert done.exit_code == 2
    assert "Traceback" in done.stderr
    assert "registry.py" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["models"], ["models", "llama3b"], ["predict", "--model", "lead1", "--limit", 2]]
)
def test_json_is_one_document_and_all_that_stdout_holds(arguments):
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    assert done.stdout.endswith("}\n")


def test_the_json_keys_of_predict():
    done = json.loads(invoke("predict", "--model", "lead1", "--data", "빈 칸/대화 [1].csv", "--json").stdout)
    promised = {"output", "rows", "seconds", "dialogues_per_second", "empty", "truncated", "sha256"}
    assert promised <= set(done)
    assert (done["rows"], done["empty"], done["truncated"]) == (2, 0, 0)


def test_json_keeps_hangul_readable():
    done = invoke("predict", "--model", "lead1", "--data", "빈 칸/대화 [1].csv", "--output", "제출.csv", "--json")
    assert "제출.csv" in done.stdout


class Interrupted:
    """A command that is stopped by Ctrl-C, fails of the machine, or loses its reader."""

    def __init__(self, error):
        self.error = error

    def __call__(self, settings, reporter):
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Stopped.\n"),
        (OSError(28, "No space left on device", "a b.csv"), 1, "No space left on device: 'a b.csv'"),
        (RequestError("bad [/INST]", "do [this]"), 2, "Error: bad [/INST]\n  Try: do [this]\n"),
    ],
)
def test_how_a_command_ends(error, code, said, capsys):
    assert execute(ModelsSettings, Interrupted(error), {}, as_json=True, debug=False) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("anything", [True, False])
def test_ctrl_c_tells_what_was_done_and_where_it_is_kept_if_it_is(capsys, tmp_path, monkeypatch, anything):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "빈 칸" / "[x]").mkdir(parents=True)
    if anything:
        (tmp_path / "빈 칸" / "[x]" / "summaries").mkdir()

    def half(settings, reporter):
        with reporter.stage("모델", 9, "dialogues") as stage:
            stage.advance(2)
            stage.advance()
            raise KeyboardInterrupt

    assert execute(ScreenSettings, half, {"output_dir": "빈 칸/[x]"}, as_json=False, debug=False) == 130
    assert capsys.readouterr().err.splitlines() == [
        "모델: 3 of 9 dialogues",
        "Stopped." + " What was finished is kept in '빈 칸/[x]': the same command goes on from there." * anything,
    ]


def test_ctrl_c_promises_nothing_where_nothing_goes_on(capsys):
    given = {"output_dir": "x", "resume": False}
    assert execute(FinetuneSettings, Interrupted(KeyboardInterrupt()), given, as_json=False, debug=False) == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_what_tests_cache_and_clean_is_nothing_of_the_users():
    code = "from dialsum_cli.caches.roots import all_paths; print(*all_paths(), sep='\\n')"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [*map(Path, shown.splitlines())] == all_paths()
    assert [path for path in all_paths() if not path.is_relative_to(OWN.resolve())] == []


def test_a_bug_is_no_failure_of_the_request():
    with pytest.raises(ZeroDivisionError):
        execute(ModelsSettings, Interrupted(ZeroDivisionError()), {}, as_json=False, debug=False)


def test_messages_are_never_folded(capsys):
    fail(RequestError("x" * 300 + " " + "가" * 300, "y " * 200))
    assert len(capsys.readouterr().err.splitlines()) == 2
    TerminalReporter().note("가 " * 200)
    TerminalReporter().warn("나 " * 200)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_data_goes_to_stdout_and_all_else_to_stderr(capsys):
    with TerminalReporter().stage("모델", 3, "dialogues") as stage:
        stage.advance(3)
    show(ModelsResult(models=[]), as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"models": []}
    assert captured.err.startswith("모델: 3 dialogues in ")


def test_without_a_terminal_nothing_is_confirmed():
    with pytest.raises(RequestError) as raised:
        TerminalReporter().confirm("Really?", "--yes")
    assert "--yes" in raised.value.remedy


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """`dialsum models` and a piped `predict` on a path in Hangul, as they look at three widths."""
    folder = tmp_path_factory.mktemp("한글 폴더")
    (folder / "대화.csv").write_text("fname,dialogue\na,#Person1#: 안녕?\n", "utf-8")
    script = (
        "import sys; from dialsum_cli.cli import app\n"
        "for arguments in (['models'], ['predict', '--model', 'lead1', '--data', '대화.csv', '--overwrite',"
        " '--output', '가나다 라마바 사아자 차카타 파하.csv']):\n"
        "    app(arguments, standalone_mode=False)\n"
    )
    shown = {}
    for width in (60, 80, 120):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=folder,
            env={**os.environ, "COLUMNS": str(width)},
            capture_output=True,
            text=True,
            check=True,
        )
        shown[width] = done.stdout
    return shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_and_stay_aligned_when_piped(wide, width):
    assert ESCAPE not in wide[width]
    captions = ("sha256", "Any Hugging Face id", "No room here for")  # to be copied, or left to the terminal to fold
    for line in wide[width].splitlines():
        assert line.startswith(captions) or cell_len(line) <= width
    table = wide[width].partition("Submission")[2].splitlines()
    header = next(line for line in table if "Rows" in line)
    body = next(line for line in table if re.search(r"\s1\s", line))
    assert cell_len(body[: re.search(r"\s1\s", body).start() + 2]) == header.index("Rows") + len("Rows")
    rows = [line for line in table if line.strip()]
    name = "".join(re.sub(r"[^가-힣]", "", line) for line in rows[rows.index(body) :])
    assert name.startswith("가나다라마바사아자차카타파하")


def test_all_models_are_listed_at_any_width(wide):
    for text in wide.values():
        for name in ("tiny-bart", "llama3b", "kogpt2", "lead1"):
            assert re.search(rf"^ ?{name} ", text, re.MULTILINE), name


@pytest.mark.parametrize("name", ["llama3b", "tiny-bart", "kobart", "lead1", "owner/model"])
def test_one_model_shows_all_that_is_known_of_it(name):
    (model,) = json.loads(invoke("models", name, "--json").stdout)["models"]
    spec = resolve(name)
    assert model["parameters"] == (spec.parameters and round(spec.parameters * 10**9))
    assert model["recipe"] == (spec.recipe and asdict(spec.recipe))
    shown = invoke("models", name, COLUMNS="80").stdout
    told = dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in shown.splitlines() if "   " in line.strip())
    assert told.pop("Name") == model.pop("name")
    recipe = {f"recipe: {key}": value for key, value in (model.pop("recipe") or {}).items()}
    assert ("No recipe" in shown) == (not recipe)
    words = {"None": "–", "": "–", "True": "yes", "False": "no"}
    expected = {key.replace("_", " "): words.get(str(value), str(value)) for key, value in (model | recipe).items()}
    assert {key: value.replace(",", "") for key, value in told.items()} == expected


def test_after_the_bundled_test_dialogues_the_next_step_scores_them_with_all_findings(tmp_path):
    done = invoke("predict", "--model", "lead1")
    (command,) = re.findall(r"Next: dialsum (score .*)", done.stderr)
    found = json.loads(invoke(*shlex.split(command), "--json").stdout)["systems"][0]["diagnostics"]
    assert None not in found.values()


def leaderboard(rows, path="내 것.csv"):
    made = [
        LeaderboardRow(rank=rank, model=name, kind=kind, final_score=50.0, tied_with_best=True)
        for rank, (name, kind) in enumerate([("a b", "causal"), ("lead1", "baseline")], 1)
    ]
    data = DataFacts(path=str(path), sha256="", rows=rows)
    return ScreenResult(leaderboard=made, signature="", data=data, run_dir="runs/x")


@pytest.mark.parametrize(
    ("path", "hint"),
    [("내 것.csv", " --train TRAIN.csv --dev '내 것.csv'"), (BUNDLED / "dev.csv", "")],
)
def test_after_a_screening_the_next_step_trains_on_the_same_data(path, hint):
    assert next_step(leaderboard(20, path)) == f"Kept in runs/x. Next: dialsum finetune --models 'a b'{hint}"


@pytest.mark.parametrize(
    ("after", "hint"),
    [(49.9, "No model has gained from it."), (50.0, "No model has gained"), (50.1, "Next: dialsum predict")],
)
def test_after_a_training_the_next_step_depends_on_its_gain(after, hint):
    scores = [
        Scores(rouge1=0, rouge2=0, rougeL=0, final_score=value, rouge_sum=0, ci95=(0, 100)) for value in (50.0, after)
    ]
    run = FinetuneRun(model="m", run_dir="runs/m", before=scores[0], after=scores[1])
    assert hint in next_step(FinetuneResult(runs=[run], signature="", floor={"constant sentence": 27.0}))


@pytest.mark.parametrize(
    ("rows", "told", "not_told"),
    [
        (19, "19 dialogues are too few to tell the best from lead1.", "tied"),
        (20, "tied with the best", "too few"),
        (1, "1 dialogue is too few to tell the best from lead1.", "tied"),
    ],
)
def test_few_dialogues_tell_nothing_of_ties(rows, told, not_told, capsys):
    show(leaderboard(rows), as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert told in shown
    assert not_told not in shown


def on_a_terminal(env):
    """What `dialsum models lead1` shows on a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dialsum_cli", "models", "lead1"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **env}) as child:
        os.close(theirs)
        patience = Timer(60, child.kill)
        patience.start()
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            seen += part
        patience.cancel()
        assert child.wait(30) == 0
    os.close(ours)
    return seen.decode()


def test_colour_on_a_terminal_unless_it_is_not_wanted():
    colour = re.compile(r"\x1b\[[0-9;]*3[0-7]m|\x1b\[1m")
    terminal = {"TERM": "xterm-256color", "COLUMNS": "80", "NO_COLOR": ""}
    assert colour.search(on_a_terminal(terminal))
    assert not re.search(r"\x1b\[[0-9;]*[34][0-7]m", on_a_terminal(terminal | {"NO_COLOR": "1"}))


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["--help"]])
def test_a_reader_that_goes_away_ends_it_quietly(arguments):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "dialsum_cli", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


def test_the_shell_completes_commands_and_options():
    def complete(words):
        env = {**os.environ, "_DIALSUM_COMPLETE": "complete_bash", "COMP_WORDS": words}
        env["COMP_CWORD"] = str(len(words.split()) - 1)
        script = "import sys; sys.argv = ['dialsum']; from dialsum_cli.cli import main; main()"
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
        return done.stdout.split()

    assert complete("dialsum sc") == ["screen", "score"]
    assert complete("dialsum predict --no-rep") == ["--no-repeat-ngram-size"]


def test_whoever_gives_no_data_is_told_whose_are_taken(dialsum):
    note = "no --data: dialogues that dialsum brings for trying things, not yours"
    assert note in dialsum("screen", "--models", "lead1", "--limit", 2).stderr
    assert note not in dialsum("screen", "--models", "lead1", "--limit", 2, "--data", BUNDLED / "dev.csv").stderr


def test_whoever_names_no_model_is_told_which_is_taken(dialsum, tmp_path):
    note = "no --model: tiny-bart, which dialsum brings for trying things"
    options = ("--limit", 1, "--max-new-tokens", 4, "--output-dir", tmp_path / "runs")
    assert note in dialsum("predict", *options, "--output", tmp_path / "1.csv").stderr
    assert note not in dialsum("predict", *options, "--model", "tiny-bart", "--output", tmp_path / "2.csv").stderr
