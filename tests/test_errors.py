"""Every error of the code says what is wrong and what to type next, by the rules of the house."""

import ast
import re
import runpy
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATOR = runpy.run_path(str(ROOT / "docs" / "make_errors.py"))
RAISED = GENERATOR["collected"]()
NAMES = ("GPU", "Mecab", "Optuna", "W&B", "Wandb")
MADE_OF_AN_ERROR = {  # in whose words it is told, all of it or what matters of it
    ("command.py", "…"),
    ("data/records.py", "'…' line …: …"),
    ("data/submissions.py", "'…' … ('…')"),
    ("data/template.py", "'…' … ('…')"),
    ("engines/shared.py", "…"),
    ("prompts/__init__.py", "…: …"),
    ("tracking.py", "W&B: …"),
    ("workflows/ensemble.py", "'…' … ('…')"),
    ("workflows/finetune.py", "…"),
}
TOLD_ELSEWHERE = {"…", "'…' has changed since"}  # by the process that reads it, as a note of a report


def identifiers() -> set[str]:
    """The names of classes and functions of ours that are no words."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "dialsum_cli").rglob("*.py"))
    kinds = (ast.ClassDef, ast.FunctionDef)
    names = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}
    return {name for name in names if "_" in name.strip("_") or re.search("[a-z][A-Z]", name)}


IDENTIFIERS = identifiers()


def faults(text: str) -> list[str]:
    """What is wrong with a message or a remedy."""
    words = re.findall(r"[A-Za-z_]+", text)
    found = {
        "is empty": not text.strip(),
        "begins with a capital": text[:1].isupper() and not text.startswith(NAMES) and not re.match("[A-Z_]+=", text),
        "ends like a sentence": text.endswith((".", "!")) and not text.endswith("..."),
        "is polite": bool({"please", "sorry", "oops"} & {word.lower() for word in words}),
        "isn't one line": text != " ".join(text.split()),
        "names what is inside": bool(IDENTIFIERS & {*words}),
    }
    return [fault for fault, there in found.items() if there]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("no file\nat all", "isn't one line"),
        ("There is no file", "begins with a capital"),
        ("there is no file.", "ends like a sentence"),
        ("please check the path", "is polite"),
        ("there is  no file", "isn't one line"),
        ("read_dialogues found no file", "names what is inside"),
        ("no ModelSpec for it", "names what is inside"),
    ],
)
def test_the_rules_find_what_they_are_for(text, fault):
    assert faults(text) == [fault]


@pytest.mark.parametrize(
    "text", ["Mecab can't be imported: …", "'…' has no rows", "HF_HOME='…'", "name it `a`, `b`, ..."]
)
def test_the_rules_leave_good_lines_alone(text):
    assert faults(text) == []


@pytest.mark.parametrize("module", sorted({error.module for error in RAISED}))
def test_every_message_and_remedy_keeps_the_rules(module):
    raised = [error for error in RAISED if error.module == module]
    texts = chain.from_iterable((*error.messages, *error.remedies) for error in raised)
    assert {text: found for text in texts if (found := faults(text))} == {}
    silent = {text for error in raised if not error.remedies for text in error.messages}
    assert silent <= TOLD_ELSEWHERE, "say what to do or type next"
    blank = {text for error in raised for text in error.messages if not re.search("[a-z]{2}", text.replace("line", ""))}
    assert {(module.removeprefix("dialsum_cli/"), text) for text in blank} <= MADE_OF_AN_ERROR


def test_the_page_of_errors_is_what_the_code_says():
    page = GENERATOR["page"]()
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == page, "run `python docs/make_errors.py`"
    assert sum(len(error.messages) for error in RAISED) > 200
    for line in (
        "Error: '…' line … (…): fname stands already in line …\n  Try: give every row an id of its own",
        "Error: no model '…': not in the catalogue, not a folder, not a Hugging Face id (owner/name)",
        "Error: the chat template of … alters the text of a turn",
        "its licence has to be accepted first\n  Try: accept its licence at …/…, then `hf auth login`\n\n",
    ):
        assert line in page


def test_no_error_escapes_the_collection():
    """As many are collected as a plain search for the names of their classes finds."""
    kinds = [name for name in GENERATOR["CODES"] if name != GENERATOR["REFUSED"]]
    plain = re.compile(rf"(?<![\w.])(?:{'|'.join(kinds)})\((?=[^)])")
    for path in sorted((ROOT / "dialsum_cli").rglob("*.py")):
        code = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("class ")]
        here = [error for error in RAISED if error.module == path.relative_to(ROOT).as_posix()]
        helpers = sum(f"def {name.split('.')[-1]}(" in "\n".join(code) for name in {"_fault", "_unusable"})
        assert len(plain.findall("\n".join(code))) - helpers <= len(here), path
