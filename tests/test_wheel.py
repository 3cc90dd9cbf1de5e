"""The wheel holds all that the program needs, and runs where there is no repository."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

import dialsum_cli

ROOT = Path(__file__).resolve().parent.parent
LOOKED_AT = {"matplotlib"}  # `dialsum doctor` tells of its fonts, where somebody has it


def names(requirements: list[str]) -> set[str]:
    """Of distributions, as pip compares them, without those that only an extra asks for."""
    wanted = (each for each in requirements if "extra ==" not in each)
    return {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", each)[0]).lower() for each in wanted}


def with_theirs(distributions: set[str]) -> set[str]:
    """The distributions, and those that they require themselves."""
    found = set(distributions)
    for each in distributions:
        try:
            found |= names(requires(each) or [])
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def test_every_package_that_is_imported_comes_with_the_wheel_or_an_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for extra, wanted in project["optional-dependencies"].items() if extra != "dev" for each in wanted]
    installed = with_theirs(names(project["dependencies"] + extras))
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "dialsum_cli").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    imported = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"dialsum_cli"} - LOOKED_AT
    assert len(imported) > 20
    homes = packages_distributions()
    assert {each for each in imported if not names(homes.get(each, [each])) & installed} == set()


def ran(*command: object, folder: Path, **environment: str) -> str:
    """What a command prints, run in a folder; its failure is the test's."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=clean | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: what an earlier build left in the repository would get into the wheel."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "dialsum_cli", source / "dialsum_cli", ignore=shutil.ignore_patterns("__pycache__"))
    build = (sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", output)
    ran(*build, folder=source)
    (built,) = output.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder with nothing but the wheel in it; what it depends on comes from the environment of the tests."""
    site = tmp_path_factory.mktemp("site")
    ran(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel, folder=site)
    return site


@pytest.fixture
def program(installed, tmp_path):
    """Run the installed `dialsum` in an empty folder."""

    def run(*arguments: object) -> str:
        return ran(installed / "bin" / "dialsum", *arguments, folder=tmp_path, PYTHONPATH=str(installed))

    return run


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        about = message_from_bytes(archive.read(metadata))
        assert f"{Path(metadata).parent}/licenses/LICENSE" in archive.namelist()
    files = (path.relative_to(ROOT) for path in (ROOT / "dialsum_cli").rglob("*") if path.is_file())
    assert names == {path.as_posix() for path in files if "__pycache__" not in path.parts}
    assert about["Version"] == dialsum_cli.__version__
    assert about["License-Expression"] == "MIT"


@pytest.mark.slow
def test_the_installed_program_screens_predicts_and_scores_outside_the_repository(program, installed, tmp_path):
    document = json.loads(program("screen", "--json"))
    rows = {row["model"]: row for row in document["leaderboard"]}
    assert {"tiny-bart", "tiny-llama", "constant"} <= set(rows)
    assert all(row["status"] == "ok" for row in rows.values())
    assert rows["tiny-llama"]["final_score"] > rows["constant"]["final_score"]

    dev = Path(document["data"]["path"])
    assert dev.is_relative_to(installed)
    program("predict", "--model", "tiny-bart", "--data", dev, "--output", "dev.csv", "--json")
    report = json.loads(program("score", "dev.csv", dev, "--report", "report.html", "--json"))
    assert report["systems"][0]["final_score"] == pytest.approx(rows["tiny-bart"]["final_score"])
    assert "<style>" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_installed_package_is_the_one_that_runs(installed, tmp_path):
    code = "import dialsum_cli; print(dialsum_cli.__file__)"
    found = ran(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=str(installed))
    assert Path(found.strip()).is_relative_to(installed)
