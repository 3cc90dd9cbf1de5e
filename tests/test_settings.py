import re
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import yaml

from dialsum_cli import settings as module
from dialsum_cli.cli import app  # noqa: F401 - registers the commands
from dialsum_cli.command import Commands, parse
from dialsum_cli.errors import DialsumError, RequestError, UnknownModelError
from dialsum_cli.settings import (
    CacheCleanSettings,
    DoctorSettings,
    FinetuneSettings,
    PredictSettings,
    ScoreSettings,
    ScreenSettings,
    TuneSettings,
)

COMMANDS = {name: settings_class for name, (settings_class, _) in Commands.registered.items()}
FIELDS = [(command, name) for command, cls in COMMANDS.items() for name in cls.model_fields if name != "config"]
POSITIONAL = ("files", "submission", "run_dirs", "name")
each_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b 가.csv"):
        (tmp_path / name).touch()


def write_yaml(text: str, name: str = "설정 1.yaml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def sample(command: str, name: str) -> str:
    """A value of an option, as it is typed."""
    named = {
        "model": "lead1",
        "models": "lead1, random,lead1",
        "average_logits": "tiny-llama, tiny-bart",
        "keep": "llama3b,owner/model",
        "files": "a.csv",
        "gold": "a.csv",
        "name": "llama3b",
        "base_url": "http://127.0.0.1:8000/v1",
        "only": "hub",
        "include": "hub-data",
        "older_than": "30d",
        "max_size": "60GB",
        "disk_limit": "80GB",
        "weights": "r1=1,r2=2",
        "space": "{num_beams: [1, 4], learning_rate: {low: 1e-5, high: 1e-3, log: true}}",
        "system_weights": "a.csv=2,b 가.csv=0.5",
        "max_length_ratio": "1.5",
    }
    if name in named:
        return named[name]
    annotation: Any = COMMANDS[command].model_fields[name].annotation
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    kinds = get_args(annotation) or [annotation]
    if get_origin(annotation) is Literal:
        return str(kinds[-1])
    if get_origin(annotation) is dict:
        return "fname=id,dialogue=내 글"
    return {bool: "true", int: "3", float: "2e-4", str: "a.csv", Path: "빈 칸/[x]"}[kinds[0]]


def typed(command: str, arguments: list[str]) -> Any:
    """The settings as the command line makes them."""
    context = Commands().get_command(None, command).make_context(command, arguments)
    given = {
        name: value
        for name, value in context.params.items()
        if name not in ("json", "debug", "show_prompt", "show_batch", "show_plan")
    }
    return parse(COMMANDS[command], given)


def required(command: str) -> list[str]:
    two = ["a.csv", "b 가.csv"]
    return {"score": two, "ensemble": two, "check": ["a.csv"], "report": ["a.csv"]}.get(command, [])


def required_values(command: str) -> dict[str, Any]:
    files = {"files": ["a.csv", "b 가.csv"]}
    others = {"check": {"submission": "a.csv"}, "report": {"run_dirs": ["a.csv"]}}
    return ({"score": files, "ensemble": files} | others).get(command, {})


@each_command
def test_every_field_tells_what_it_is(command):
    for name, field in COMMANDS[command].model_fields.items():
        assert field.description, name
        assert re.search(r"\.( \[default: [^]]+\])?$", field.description), name
        assert "\n" not in field.description, name


@pytest.mark.parametrize(("command", "name"), [pair for pair in FIELDS if pair[1] not in POSITIONAL])
def test_flag_variable_yaml_and_keyword_mean_the_same(command, name, monkeypatch):
    value = sample(command, name)
    is_switch = COMMANDS[command].model_fields[name].annotation in (bool, bool | None)
    option = f"--{name.replace('_', '-')}"
    by_flag = typed(command, [*required(command), *([option] if is_switch else [option, value])])
    by_yaml = typed(command, [*required(command), "--config", str(write_yaml(f"{name}: {value}\n"))])
    by_keyword = COMMANDS[command](**required_values(command), **{name: value})
    monkeypatch.setenv(f"DIALSUM_{name.upper()}", value)
    by_variable = typed(command, required(command))
    assert by_flag.model_dump() == by_variable.model_dump() == by_yaml.model_dump() == by_keyword.model_dump()
    assert name in by_flag.model_fields_set


@pytest.mark.parametrize(("command", "name"), FIELDS)
def test_to_yaml_parses_back_to_an_equal_object(command, name):
    values = {name: sample(command, name)} | required_values(command)
    before = COMMANDS[command](**values)
    after = COMMANDS[command](config=write_yaml(before.to_yaml()))
    assert after.model_dump() == before.model_dump()
    assert set(yaml.safe_load(before.to_yaml())) == set(COMMANDS[command].model_fields) - {"config"}


@each_command
def test_the_defaults_are_valid_and_do_not_change(command):
    values = required_values(command)
    settings = COMMANDS[command](**values)
    for name in type(settings).model_fields:
        assert COMMANDS[command].model_validate(values | {name: getattr(settings, name)}) == settings
    with pytest.raises(ValueError, match="frozen"):
        settings.config = Path("x")


@pytest.mark.parametrize("text", ["[lead1, random]", "lead1,random", "'lead1 , random,'", "\n- lead1\n- random,lead1"])
def test_lists_agree(text, monkeypatch):
    assert ScreenSettings(config=write_yaml(f"models: {text}")).models == ["lead1", "random"]


SWITCHES = [
    (command, name)
    for command, name in FIELDS
    if COMMANDS[command].model_fields[name].annotation in (bool, bool | None)
]


@pytest.mark.parametrize(("command", "name"), SWITCHES)
def test_a_switch_is_turned_off_by_its_negation_also_against_the_environment(command, name, monkeypatch):
    monkeypatch.setenv(f"DIALSUM_{name.upper()}", "true")
    settings = typed(command, [*required(command), f"--no-{name.replace('_', '-')}"])
    assert getattr(settings, name) is False
    assert getattr(typed(command, required(command)), name) is True


def test_a_repeated_key_is_refused():
    with pytest.raises(RequestError, match="'limit' is there twice"):
        ScreenSettings(config=write_yaml("limit: 2\nseed: 1\nlimit: 3\n"))


def test_keys_that_an_anchor_brings_give_way_to_those_that_stand_there():
    with pytest.raises(RequestError, match="unknown key 'base'"):
        ScreenSettings(config=write_yaml("base: &base {limit: 3}\n<<: *base\n"))
    settings = FinetuneSettings(config=write_yaml("seed: 3\n<<: {num_epochs: 2}\nnum_epochs: 5\n"))
    assert (settings.seed, settings.num_epochs) == (3, 5)


@pytest.mark.parametrize("order", [("--dry-run", "--no-dry-run"), ("--no-dry-run", "--dry-run")])
def test_a_switch_that_is_turned_on_and_off_is_refused(order):
    with pytest.raises(RequestError, match="--dry-run and --no-dry-run contradict each other"):
        typed("cache-clean", [*order])


@pytest.mark.parametrize("number", ["inf", "nan", "-inf"])
@pytest.mark.parametrize("name", ["num_epochs", "learning_rate", "max_grad_norm", "checkpoint_minutes"])
def test_no_number_is_infinite(name, number):
    with pytest.raises(RequestError, match=r"finite number|greater than"):
        parse(FinetuneSettings, {name: number})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"output_dir": "a\0b"}, "holds a NUL"),
        ({"wandb_project": "a/b"}, "W&B allows no / in it"),
        ({"wandb_project": " "}, "is empty"),
    ],
)
def test_a_text_that_can_not_be_what_it_is_for_is_refused(given, message):
    with pytest.raises(RequestError, match=message):
        parse(FinetuneSettings, given)


def test_lists_by_flag_and_variable(monkeypatch):
    assert typed("screen", ["--models", "lead1 ,random", "--models", "lead1"]).models == ["lead1", "random"]
    monkeypatch.setenv("DIALSUM_MODELS", "lead1, random,,")
    assert ScreenSettings().models == ["lead1", "random"]


@pytest.mark.parametrize("value", ["", ",", " , "])
def test_an_empty_list_of_models_is_refused(value):
    with pytest.raises(RequestError, match=r"--models: .*at least 1 item"):
        parse(ScreenSettings, {"models": [value]})


def test_a_number_with_an_exponent_is_a_number():
    rate = FinetuneSettings(config=write_yaml("learning_rate: 2e-4\n")).learning_rate
    assert isinstance(rate, float)
    assert rate == 2e-4


@pytest.mark.parametrize(("text", "expected"), [("yes: yes", True), ("'yes': on", True), ("yes: False", False)])
def test_an_option_called_yes_can_stand_in_yaml(text, expected):
    assert CacheCleanSettings(config=write_yaml(text)).yes is expected


def test_a_bom_an_empty_file_and_comments_are_yaml():
    assert FinetuneSettings(config=write_yaml("\ufeffseed: 7\n")).seed == 7
    for text in ("", "# nothing yet\n", "---\n"):
        assert FinetuneSettings(config=write_yaml(text)) == FinetuneSettings(config=Path("설정 1.yaml"))


def test_precedence_through_the_real_program(dialsum, tmp_path):
    """Flag, then variable, then YAML, then default: each run takes one of them away."""
    config = write_yaml("limit: 3\nmodel: lead1\nseed: 5\noverwrite: true\n")
    arguments = ["predict", "--json", "--config", config, "--output", "빈 칸/제출 [1].csv"]
    env = {"DIALSUM_LIMIT": "2", "DIALSUM_SEED": "6"}

    def resolved(*more, env=None):
        done = yaml.safe_load(dialsum(*arguments, *more, env=env).stdout)
        kept = yaml.safe_load((tmp_path / done["run_dir"] / "settings.yaml").read_text(encoding="utf-8"))
        assert kept["limit"] == done["rows"]
        return done["rows"], kept["seed"]

    assert resolved("--limit", "1", env=env) == (1, 6)
    assert resolved(env=env) == (2, 6)
    assert resolved() == (3, 5)


def test_precedence_through_keywords(monkeypatch):
    config = write_yaml("limit: 3\nseed: 5\n")
    monkeypatch.setenv("DIALSUM_LIMIT", "2")
    assert PredictSettings(limit=1, config=config).limit == 1
    settings = PredictSettings(config=config)
    assert (settings.limit, settings.seed, settings.num_beams) == (2, 5, 1)
    monkeypatch.delenv("DIALSUM_LIMIT")
    assert PredictSettings(config=config).limit == 3
    assert PredictSettings().limit is None


def test_a_config_file_by_variable_and_the_flag_over_it(monkeypatch):
    monkeypatch.setenv("DIALSUM_CONFIG", str(write_yaml("seed: 1", "env.yaml")))
    assert PredictSettings().seed == 1
    assert PredictSettings(config=write_yaml("seed: 2", "flag.yaml")).seed == 2
    assert typed("predict", ["--config", "flag.yaml"]).seed == 2
    monkeypatch.setenv("dialsum_config", "nowhere.yaml")  # as every other variable, in any case
    with pytest.raises(RequestError, match=r"can't read 'nowhere.yaml'"):
        PredictSettings()


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("num_beam: 2", "unknown key 'num_beam'", "did you mean 'num_beams'?"),
        ("num-beams: 2", "unknown key 'num-beams'", "did you mean 'num_beams'?"),
        (
            "learning_rate: 1",
            "unknown key 'learning_rate': `dialsum finetune`, `dialsum tune` know",
            "give each command a file",
        ),
        (
            "models: a",
            "unknown key 'models': `dialsum screen`, `dialsum finetune`, `dialsum doctor` know it",
            "a file of its own",
        ),
        ("zzz: 2", "unknown key 'zzz'", "remove that key"),
        ("config: other.yaml", "unknown key 'config'", ""),
        ("1: 2", "unknown key '1'", "remove"),
        ("- seed: 1", "holds no mapping", "option: value"),
        ("seed", "holds no mapping", "option: value"),
        ("seed: [1", "is no YAML", "mend"),
        ("[" * 4000, "is nested too deeply", "one `option: value` a line"),
        ("seed: !!python/name:os.system", "is no YAML", "mend"),
    ],
)
def test_yaml_that_is_refused(text, message, remedy):
    path = write_yaml(text)
    with pytest.raises(RequestError, match=message) as raised:
        PredictSettings(config=path)
    assert f"'{path}'" in str(raised.value)
    assert remedy in raised.value.remedy
    assert raised.value.remedy
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("command", "text", "message", "remedy"),
    [
        ("finetune", "training: {learning_rate: 1e-5}", "the unknown key 'training' with", "flat key learning_rate?"),
        ("finetune", "training:\n  num_train_epochs: 20\n  per_device_train_batch_size: 50\n"
         "  lr_scheduler_type: cosine\n  warmup_ratio: 0.1\n  early_stopping_patience: 3\n"
         "  optim: adamw_torch\n  fp16: true\n", "'training'",
         "the flat keys num_epochs, batch_size, scheduler, warmup_ratio, patience, optimizer?"),
        ("finetune", "wandb:\n  project: a", "the key 'wandb' with", "the flat key wandb_project?"),
        ("predict", "inference: {num_beams: 4, no_repeat_ngram_size: 2, generate_max_length: 100}", "'inference'",
         "the flat keys num_beams, no_repeat_ngram_size, max_new_tokens?"),
        ("predict", "tokenizer: {bos: <s>}", "'tokenizer'", "options are flat: `dialsum predict --help` lists them"),
        ("predict", "1: {2: 3}", "the unknown key '1'", "`dialsum predict --help` lists them"),
    ],
)  # fmt: skip
def test_a_nested_key_is_refused_by_the_name_of_the_flat_one(command, text, message, remedy):
    with pytest.raises(RequestError, match=f"--config: 'run.yaml' has .*{message}") as raised:
        COMMANDS[command](config=write_yaml(text, "run.yaml"))
    assert raised.value.remedy.endswith(remedy)


def test_an_option_that_is_a_mapping_stays_one():
    assert PredictSettings(config=write_yaml("columns: {fname: id}")).columns == {"fname": "id"}


def test_a_flat_key_of_transformers_is_known_by_our_name():
    with pytest.raises(RequestError) as raised:
        FinetuneSettings(config=write_yaml("per_device_train_batch_size: 50"))
    assert raised.value.remedy == "did you mean 'batch_size'?"


def test_config_files_that_cannot_be_read(tmp_path):
    Path("latin.yaml").write_bytes("prompt: 한국어".encode("cp949"))
    (tmp_path / "folder.yaml").mkdir()
    for name, message in {"no.yaml": "can't read", "folder.yaml": "can't read", "latin.yaml": "is no YAML"}.items():
        with pytest.raises(RequestError, match=message):
            PredictSettings(config=name)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("DIALSUM_LIMT", "did you mean 'DIALSUM_LIMIT'?"),
        ("dialsum_num_beam", "'DIALSUM_NUM_BEAMS'"),
        ("DIALSUM_XYZZY", "unset"),
    ],
)
def test_a_mistyped_variable_is_refused(monkeypatch, name, remedy):
    monkeypatch.setenv(name, "3")
    with pytest.raises(RequestError, match=f"environment variable {name} is no option") as raised:
        PredictSettings()
    assert remedy in raised.value.remedy


def test_a_variable_of_another_command_is_no_mistake(monkeypatch):
    monkeypatch.setenv("DIALSUM_LEARNING_RATE", "1e-3")
    assert PredictSettings().model == "tiny-bart"
    assert FinetuneSettings().learning_rate == 1e-3


@pytest.mark.parametrize(
    ("given", "env", "text", "source"),
    [
        ({"limit": 0}, "3", "limit: 3", "--limit: "),
        ({}, "0", "limit: 3", "DIALSUM_LIMIT: "),
        ({}, None, "limit: 0", "key 'limit' of the --config file: "),
    ],
)
def test_a_wrong_value_is_told_with_its_source(monkeypatch, given, env, text, source):
    if env:
        monkeypatch.setenv("DIALSUM_LIMIT", env)
    with pytest.raises(RequestError) as raised:
        parse(PredictSettings, {"config": write_yaml(text), "seed": None} | given)
    assert str(raised.value).startswith(source)
    assert raised.value.remedy == "`dialsum predict --help` lists what is allowed"


@each_command
def test_settings_know_their_command(command):
    assert COMMANDS[command].command() == command


def test_the_remedy_names_a_command_that_exists(monkeypatch):
    monkeypatch.setenv("DIALSUM_YES", "maybe")
    with pytest.raises(RequestError) as raised:
        parse(CacheCleanSettings, {})
    assert raised.value.remedy.startswith("`dialsum cache-clean --help`")


@pytest.mark.parametrize(
    ("settings_class", "values", "message"),
    [
        (PredictSettings, {"columns": "id"}, "write it as fname=id"),
        (PredictSettings, {"columns": "fname="}, "write it as fname=id"),
        (PredictSettings, {"columns": "id=fname"}, "'id' is no column of ours"),
        (PredictSettings, {"precision": "int8"}, "'auto'.*'nf4'"),
        (PredictSettings, {"num_beams": "two"}, "valid integer"),
        (ScreenSettings, {"seed": -1}, "greater than or equal to 0"),
        (ScoreSettings, {"files": ["a.csv"]}, "FILES: give prediction files, then the gold file, as in `dialsum score"),
        (FinetuneSettings, {"learning_rate": 0.0, "batch_size": 0}, "--learning-rate: .*; --batch-size: "),
    ],
)
def test_values_that_are_refused(settings_class, values, message):
    with pytest.raises(RequestError, match=message) as raised:
        parse(settings_class, values)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("name", ["lama3b", "LLAMA3B"])
def test_a_mistyped_model_is_no_option_error(name):
    with pytest.raises(UnknownModelError) as raised:
        parse(ScreenSettings, {"models": ["lead1", name]})
    assert "'llama3b'" in raised.value.remedy
    assert isinstance(raised.value, DialsumError)


def test_no_default_depends_on_the_folder_in_which_one_stands():
    for path in (PredictSettings().data, FinetuneSettings().train, FinetuneSettings().dev, ScreenSettings().data):
        assert Path(path).is_absolute()
        assert Path(path).parent == module.BUNDLED


@pytest.mark.parametrize(
    ("settings", "read"),
    [
        (DoctorSettings(), []),
        (DoctorSettings(models="tiny-bart"), ["train", "data"]),
        (TuneSettings(), ["dev"]),
        (TuneSettings(stage="both"), ["train", "dev"]),
        (FinetuneSettings(), ["train", "dev"]),
        (ScreenSettings(), ["data"]),
        (CacheCleanSettings(), []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_command_knows_which_data_it_reads(settings, read):
    assert [*settings.read] == read
