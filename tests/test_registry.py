from pathlib import Path

import pytest

from dialsum_cli.errors import UnknownModelError
from dialsum_cli.registry import BASELINES, CATALOGUE, resolve


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_catalogue_names_are_unique_and_resolve_to_themselves():
    assert len({spec.source for spec in CATALOGUE.values() if spec.source}) == len(CATALOGUE) - len(BASELINES)
    for name, spec in CATALOGUE.items():
        assert spec.name == name
        assert resolve(name) is spec


@pytest.mark.parametrize(
    "spec", [spec for spec in CATALOGUE.values() if spec.source and not spec.bundled], ids=lambda spec: spec.name
)
def test_a_hub_id_of_the_catalogue_is_its_entry(spec):
    assert resolve(spec.source) is spec


@pytest.mark.parametrize("spec", CATALOGUE.values(), ids=lambda spec: spec.name)
def test_every_model_has_what_its_kind_needs(spec):
    assert spec.nickname
    assert (spec.kind == "baseline") == (not spec.source) == (spec.recipe is None)
    assert spec.bundled == spec.name.startswith("tiny-")
    if spec.source and not spec.bundled:
        assert spec.source.count("/") == 1
        assert spec.licence
        assert spec.parameters
        assert spec.layers


def test_what_is_outside_the_catalogue():
    spec = resolve("Bllossom/llama-3.2-Korean-Bllossom-3B-large")
    assert (spec.source, spec.kind, spec.nickname) == (spec.name, None, "llama-3.2-Korean-Bllossom-3B-large")


@pytest.mark.parametrize("name", ["빈 칸/모델 [1]", ".", "..", "owner/model", "~"])
def test_a_folder(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Path(name).mkdir(parents=True, exist_ok=True)
    spec = resolve(name)
    assert spec.name == name
    assert Path(spec.source).samefile(tmp_path if name == "~" else name)
    assert spec.nickname


def test_a_folder_that_appears_later_is_found(tmp_path):
    assert resolve("runs/model").source == "runs/model"
    (tmp_path / "runs").mkdir()
    with pytest.raises(UnknownModelError):  # no model of an owner `runs`: a folder that is not there
        resolve("runs/model")
    (tmp_path / "runs" / "model").mkdir()
    assert resolve("runs/model").kind is None
    assert resolve("runs/model").nickname == "model"


def test_a_folder_of_a_catalogue_name_does_not_hide_the_catalogue(tmp_path):
    (tmp_path / "llama3b").mkdir()
    assert resolve("llama3b") is CATALOGUE["llama3b"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("lama3b", "llama3b"),
        ("LLAMA3B", "llama3b"),
        ("qwen-7b", "qwen7b"),
        ("kobrat", "kobart"),
        ("leed3", "lead3"),
        ("tiny_bart", "tiny-bart"),
    ],
)
def test_a_typo_gets_a_suggestion(name, near):
    with pytest.raises(UnknownModelError, match=f"no model '{name}'") as raised:
        resolve(name)
    assert f"did you mean '{near}'?" in raised.value.remedy


@pytest.mark.parametrize(
    "name",
    ["", " ", "/", "a/b/c", "./nowhere", "../nowhere", "/no/where", "~no:one", "한글/모델", "-x/y", "a" * 5000, "a\0b"],
)
def test_what_is_no_model(name):
    if name == "/":
        assert resolve(name).source == "/"  # a folder: whether it holds a model is found out when it is loaded
        return
    with pytest.raises(UnknownModelError) as raised:
        resolve(name)
    assert "`dialsum models`" in raised.value.remedy
