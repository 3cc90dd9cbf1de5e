"""Every package that dialsum asks for is listed with its licence, and no licence is made up."""

import re
import runpy
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATOR = runpy.run_path(str(ROOT / "docs" / "make_licences.py"))
KNOWN = GENERATOR["KNOWN"]
# How packages write it that don't write it as SPDX does.
SIGNS = {"MIT": r"\bMIT\b", "Apache-2.0": r"\bApache\b", "BSD-2-Clause": r"\bBSD\b", "BSD-3-Clause": r"\bBSD\b"}


def test_the_page_lists_what_is_asked_for():
    page = GENERATOR["page"]()
    assert (ROOT / "docs" / "licences.md").read_text(encoding="utf-8") == page, "run `python docs/make_licences.py`"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    names = {re.match(r"[\w.-]+", each)[0] for each in asked}
    assert set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) == names
    assert {name.lower() for name in names} == set(KNOWN), "a licence of what nobody asks for"
    assert "| `rouge` | ==1.0.1 | Apache-2.0 |" in page


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"rouge"}))
def test_a_licence_is_what_the_package_says(name):
    try:
        about = metadata(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    licence, _ = KNOWN[name]
    if expression := about["License-Expression"]:
        assert licence == expression
        return
    classifiers = [each for each in about.get_all("Classifier", []) if each.startswith("License ::")]
    told = "\n".join([(about["License"] or "").partition("\n")[0], *classifiers])
    assert re.search(SIGNS[licence], told), told


def test_rouge_comes_with_the_licence_that_is_told():
    (text,) = [file.read_text() for file in distribution("rouge").files or () if file.name == "LICENSE"]
    assert "Apache License" in text
    assert KNOWN["rouge"][0] == "Apache-2.0"
