"""What the documents show must work as shown."""

import ast
import csv
import json
import re
import runpy
import shlex
import sys
import tomllib
from collections import Counter
from datetime import date
from itertools import count, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
import yaml

from dialsum_cli import __version__
from dialsum_cli.cli import app
from dialsum_cli.command import Commands, parse, run_program
from dialsum_cli.registry import CATALOGUE
from dialsum_cli.settings import BUNDLED

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
    ]
)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|\s)(?:\S*/)?(?:dialsum|-m dialsum_cli)( (?:'[^']*'|[^;&|>'])*)")
INLINE = re.compile(r"`dialsum( [a-z][^`]*)`")
MENTION = re.compile(r"([a-z-]+) (--[a-z-]+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
OUTPUTS = ("--output", "--report", "--per-item", "--keep-samples")


def read(path: Path | str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def in_blocks(text: str) -> list[str]:
    """The arguments of each dialsum that a shell block of a document runs."""
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in lines]
    return [found[1].strip() for line in lines if (found := COMMAND.search(line))]


def in_sentences(text: str) -> list[str]:
    """The same of each command that a sentence gives in full: with more than its name, or the name of an option."""
    runs = count(1)
    found = [" ".join(each.split()) for each in INLINE.findall(FENCED.sub("", text))]
    found = [each for each in found if " " in each and "..." not in each and not MENTION.fullmatch(each)]
    return [re.sub(r"\bRUN\b", lambda _: f"runs/{next(runs)}", re.sub(r"\bN\b", "2", each)) for each in found]


SHOWN = sorted({line for path in DOCUMENTS for find in (in_blocks, in_sentences) for line in find(read(path))})
PLACEHOLDERS = {"NAME", "이름"}
CHEAP = ("models", "check", "score", "ensemble")


def parsed(line: str, folder: Path):
    """The settings that the real program makes of a line, and the switch among its flags; in an empty folder."""
    words = [word.replace("/path/to/dialsum/", f"{ROOT}/") for word in shlex.split(line)]
    name, *arguments = [word for word in words if word not in ("--debug", "--json")]
    assert name in Commands.registered
    for value in (part for argument in arguments for part in argument.split(",")):
        if value in PLACEHOLDERS or value.startswith(("runs/", "./")):
            (folder / value).mkdir(parents=True, exist_ok=True)  # a model's folder is one only where it is there
        if value.endswith((".yaml", ".yml")) and (ROOT / value).is_file() and not Path(value).is_absolute():
            (folder / value).parent.mkdir(parents=True, exist_ok=True)
            (folder / value).write_bytes((ROOT / value).read_bytes())
        elif value.endswith((".yaml", ".yml")) and not Path(value).is_absolute():
            (folder / value).touch()
    given = typer.main.get_command(app).get_command(None, name).make_context(name, arguments).params
    switches = [switch for switch in Commands.switches[name] if given.pop(switch)]
    given = {key: value for key, value in given.items() if key not in ("json", "debug")}
    return parse(Commands.registered[name][0], given), switches


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_that_a_document_shows_is_one(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parsed(line, tmp_path)


def test_the_documents_are_searched_as_a_shell_would_read_them():
    block = "```bash\nvllm/bin/dialsum predict --model a\nOMP=1 accelerate launch -m dialsum_cli finetune  # now\n```"
    assert in_blocks(block) == ["predict --model a", "finetune"]
    assert in_blocks("```bash\n# dialsum screen\npip install 'dialsum[fast]'\ndialsum models > a; dialsum b\n```") == [
        "models"
    ]
    sentence = (
        "`dialsum score a.csv\nb.csv`, `dialsum predict --limit N`; neither `dialsum screen` nor `dialsum a B...`"
    )
    assert in_sentences(sentence) == ["score a.csv b.csv", "predict --limit 2"]
    assert len(SHOWN) > 50


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_document_names_exists(document):
    text = read(document)
    assert set(re.findall(r"`dialsum ([a-z][a-z-]*)", text)) <= set(Commands.registered)
    for mention in INLINE.findall(text):
        if named := MENTION.fullmatch(mention.strip()):
            parameters = typer.main.get_command(app).get_command(None, named[1]).params
            assert named[2] in [flag for parameter in parameters for flag in parameter.opts], mention


def copy_inputs(arguments: list[str], folder: Path) -> list[str]:
    """Put files of the bundled corpus where the arguments name files to read; returns them with patterns expanded."""
    with (BUNDLED / "dev.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    data = ("train.csv", "dev.csv", "test.csv", "gold.csv", "dev_gold.csv")
    expanded: list[str] = []
    for before, argument in pairwise(["", *arguments]):
        expanded += [argument.replace("*", str(number)) for number in (1, 2, 3)] if "*" in argument else [argument]
        if before in OUTPUTS or not argument.endswith(".csv"):
            continue
        for name in expanded[-3 if "*" in argument else -1 :]:
            if name in data:
                (folder / name).write_bytes((BUNDLED / "dev.csv").read_bytes())
                continue
            with (folder / name).open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["fname", "summary"])
                column = f"summary{1 + len(list(folder.iterdir())) % 3}"
                writer.writerows((row["fname"], row[column]) for row in rows)
    return expanded


def run(line: str, folder: Path, monkeypatch) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["dialsum", *copy_inputs(shlex.split(line), folder)])
    return run_program(app)


@pytest.mark.parametrize(
    "line", [line for line in SHOWN if line.split()[0] in CHEAP and not PLACEHOLDERS & {*re.split("[ ,]", line)}]
)
def test_cheap_commands_run_as_shown(line, tmp_path, monkeypatch, capsys):
    assert run(line, tmp_path, monkeypatch) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


def bundled_alone(line: str) -> bool:
    """Whether a command needs the bundled models and nothing else, no file of a checkout either."""
    mine = line.startswith(("screen", "predict", "finetune")) and "tiny-" in line and "dialsum_cli/" not in line
    return mine and not PLACEHOLDERS & {*re.split("[ ,]", line)}


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in SHOWN if bundled_alone(line)])
def test_commands_with_bundled_models_run_as_shown(line, tmp_path, dialsum):
    dialsum(*copy_inputs(shlex.split(line), tmp_path))


def slugs(text: str) -> list[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found) for found in HEADING.findall(FENCED.sub("", text))]
    plain = [re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings]
    before: Counter[str] = Counter()
    anchors = []
    for slug in plain:
        anchors.append(f"{slug}-{before[slug]}" if before[slug] else slug)
        before[slug] += 1
    return anchors


def test_anchors_are_made_as_github_makes_them():
    assert slugs("# A b: `--c-d`\n## A & B\n```\n# no heading\n```\n## A & B\n### 한글, [링크](x.md)") == [
        "a-b---c-d", "a--b", "a--b-1", "한글-링크",
    ]  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_resolve(document):
    text = read(document)
    for target in LINK.findall(FENCED.sub("", text)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        if anchor:
            assert anchor in slugs(read(file)), target


def test_every_page_is_linked_from_another_one():
    linked = {
        (document.parent / target.partition("#")[0]).resolve()
        for document in DOCUMENTS
        for target in LINK.findall(read(document))
        if "://" not in target and target.partition("#")[0] not in ("", document.name)
    }
    assert [path.name for path in (ROOT / "docs").glob("*.md") if path not in linked] == []


def test_the_page_of_options_is_what_the_settings_say():
    page = runpy.run_path(str(ROOT / "docs" / "make_options.py"))["page"]()
    assert read("docs/options.md") == page, "run `python docs/make_options.py`"
    for name, (settings_class, _) in Commands.registered.items():
        _, _, section = page.partition(f"## `dialsum {name}`\n")
        rows = section.partition("\n## ")[0]
        for key, field in settings_class.model_fields.items():
            assert f"`{key}`" in rows or field.is_required() or key == "config", (name, key)


def messages() -> str:
    """A pattern for the texts of our own code: the whole of a short one, any place for one that can't be mistaken."""
    patterns = set()
    for path in (ROOT / "dialsum_cli").rglob("*.py"):
        nodes = [*ast.walk(ast.parse(read(path)))]
        inside = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if node in inside:
                continue
            parts = node.values if isinstance(node, ast.JoinedStr) else [node] if isinstance(node, ast.Constant) else []
            fixed = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            letters = sum(len(part) for part in fixed if isinstance(part, str))
            text = "".join(".+" if part is None else re.escape(part) for part in fixed if isinstance(part, str | None))
            if letters >= 14:
                patterns.add(f".*{text}.*")
            elif letters >= 4 and fixed.count(None) < 2:
                patterns.add(text)
    return "|".join(sorted(patterns))


def test_the_lines_that_troubleshooting_shows_are_those_of_the_code():
    shown = re.findall(r"^(?:Error|Warning|  Try): (.+)$", read("docs/troubleshooting.md"), re.MULTILINE)
    assert len(shown) > 60
    known = re.compile(messages())
    assert [line for line in shown if not known.fullmatch(line)] == []
    assert not known.fullmatch("'calls.csv' line 812 (call_77): fname stood already in line 340")  # it says "stands"
    assert not known.fullmatch("my head has no room for this")  # a part of a message


def test_both_lessons_say_the_same():
    english, korean = read("docs/lessons.md"), read("docs/lessons.ko.md")
    assert [len(mark) for mark in re.findall(r"^#+", english, re.MULTILINE)] == [
        len(mark) for mark in re.findall(r"^#+", korean, re.MULTILINE)
    ]
    assert in_blocks(english) == in_blocks(korean)
    assert LINK.findall(english)[1:] == LINK.findall(korean)[1:]  # the first is that to the other one
    cells = [[row.count("|") for row in text.splitlines() if row.startswith("|")] for text in (english, korean)]
    assert cells[0] == cells[1]
    figures = [re.findall(r"\d+[.,]\d+", text) for text in (english, korean)]
    assert Counter(figures[0]) == Counter(figures[1])


def test_both_readmes_have_the_same_commands_and_headings():
    english, korean = read("README.md"), read("docs/README.ko.md")
    assert in_blocks(english) == in_blocks(korean)
    assert "screen --models llama3b,qwen7b" in in_blocks(english)
    marks = [re.findall(r"^#+", FENCED.sub("", text), re.MULTILINE) for text in (english, korean)]
    assert marks[0] == marks[1]
    strip = [re.sub(r" +#.*", "", "".join(BLOCK.findall(text))) for text in (english, korean)]
    assert strip[0] == strip[1]


def test_the_readmes_name_the_torch_that_is_installed_and_what_the_contest_downloads():
    for text in (read("README.md"), read("docs/README.ko.md")):
        (version,) = set(re.findall(r"torch==([\d.]+\d)", text))
        assert f"torch=={version}" in read("constraints.txt").splitlines()
        (command,) = [line for line in in_blocks(text) if "doctor" in line and "kobart" in line]
        names = command.split("--models ")[1].split()[0].split(",")
        files = [yaml.safe_load(read(f"examples/contest/{name}.yaml")) for name in ("screen", "finetune")]
        assert set(names) == {name for file in files for name in file["models"]}
        specs = [CATALOGUE[name] for name in names]
        gigabytes = sum(spec.parameters * (4 if spec.kind == "seq2seq" else 2) for spec in specs)
        assert re.search(rf"\b{gigabytes:.0f} GB", text)


def speed() -> dict:
    return runpy.run_path(str(ROOT / "docs" / "make_speed.py"))


def test_the_tables_of_speed_are_what_the_benchmarks_filed():
    generator = speed()
    for language, page in generator["PAGES"].items():
        assert read(page) == generator["page"](language), "run `python docs/make_speed.py`"
        assert "| NVIDIA H200 |" in read(page)


def test_a_table_of_speed_has_what_is_there_and_nothing_else(tmp_path):
    table = speed()["table"]
    assert len(table("en", tmp_path).splitlines()) == 2
    label = "llama3b bf16, 499 synthetic prompts, 64 new tokens"
    took = {"floor": 1.0, "generate": 31.2, "seed": 355.4, "ours": 6.0}
    ways = {way: {"seconds": each} for way, each in took.items()}
    ways["vllm"] = {"seconds": 4.04, "start": 61.0}
    ways["seed"]["slice"] = 16
    alone = {"tiny fp32, 9 real prompts, 4 new tokens": ways, "llama3b untied bf16, 64 real prompts": {"check": {}}}
    (tmp_path / "generation.json").write_text(json.dumps({"GPU": {label: ways} | alone}))
    minutes = {"seed": 30.31, "bf16 ours": 3.84, "bf16 trl": 5.0, "bf16 ours on 2": 2.0}
    rows = {way: {"minutes_an_epoch": each} for way, each in minutes.items()} | {"nf4 ours": {"error": "out of memory"}}
    (tmp_path / "training.json").write_text(json.dumps({"GPU": {"llama3b": rows, "llama3b, dropout 0": rows}}))
    _, _, generated, trained = table("en", tmp_path).splitlines()
    assert generated == (
        "| 499 answers of 64 tokens, Llama 3B in bf16 | GPU | 6.0 s | `model.generate` 31 s<br>batches of 8, 4 beams, "
        "forbidden tokens 355 s (judging by 16 of them)<br>vLLM 4.0 s, after 61 s to start |"
    )
    assert trained == (
        "| an epoch of 12,457 dialogues, Llama 3B, LoRA, bf16 | GPU | 3.8 min<br>on 2 GPUs 2.0 min | "
        "TRL's `SFTTrainer` 5.0 min<br>NF4, 4 rows padded to 1,024 30 min |"
    )
    (tmp_path / "training.json").write_text(json.dumps({"GPU": {"llama8b under 24 GiB": {"nf4 ours": rows["seed"]}}}))
    assert "Llama 8B, QLoRA, 메모리 24 GiB | GPU | 30분 | – |" in table("ko", tmp_path)


def recording() -> list[str]:
    """The lines of the picture of a terminal; each must be XML, and ask nobody for anything."""
    text = read("docs/screen.svg")
    assert set(re.findall(r"https?://[^\s\"<]+", text)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    lines: dict[float, list[str]] = {}
    for part in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text"):
        lines.setdefault(float(part.attrib["y"]), []).extend("".join(part.itertext()).split())
    return [" ".join(lines[at]) for at in sorted(lines)]


def test_the_recording_shows_the_command_and_its_leaderboard():
    lines = recording()
    assert "$ dialsum screen" in lines
    assert {words[1] for line in lines if (words := line.split()) and words[0].isdigit()} >= {"tiny-llama", "constant"}
    assert any(line.startswith("Kept in runs/screen/") for line in lines)


@pytest.mark.slow
def test_the_recording_shows_what_the_program_does(dialsum):
    rows = json.loads(dialsum("screen", "--json").stdout)["leaderboard"]
    shown = [line.split()[:3] for line in recording() if line.split() and line.split()[0].isdigit()]
    expected = [[str(row["rank"]), row["model"], f"{row['final_score']:.2f}"] for row in rows]
    assert shown == expected, "run `python docs/make_recording.py`"


def test_every_command_is_in_both_readmes():
    for text in (read("README.md"), read("docs/README.ko.md")):
        assert all(f"`dialsum {name}`" in text for name in Commands.registered)


def test_the_version_is_written_in_one_place():
    project = tomllib.loads(read("pyproject.toml"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "dialsum_cli.__version__"}
    written = [path.name for path in (ROOT / "dialsum_cli").rglob("*.py") if f'"{__version__}"' in read(path)]
    assert written == ["__init__.py"]


def test_the_picture_of_the_layers_is_what_the_imports_are_held_to():
    contract = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]
    picture = read("docs/architecture.md").partition("┌")[2].partition("└")[0]
    assert [line.split("│")[1].strip() for line in picture.splitlines() if "│" in line] == contract["layers"]


def test_the_changelog_has_its_form():
    text = read("CHANGELOG.md")
    first, *versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "Unreleased"
    dates = {name: date.fromisoformat(day) for name, day in (each.split(" - ") for each in versions)}
    assert __version__ in dates
    assert list(dates.values()) == sorted(dates.values(), reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
