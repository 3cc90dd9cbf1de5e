"""What the documents show must work as shown."""

import re
import shlex
from pathlib import Path

import pytest

from dialsum_cli.cli import app
from dialsum_cli.command import Commands

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "corpus" / "README.md"]
BLOCK = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)")


def shown_commands() -> list[tuple[str, str]]:
    lines = [(document.name, line) for document in DOCUMENTS for block in BLOCK.findall(document.read_text("utf-8"))
             for line in block.replace("\\\n", " ").splitlines()]  # fmt: skip
    return [(name, line.partition(" # ")[0]) for name, line in lines if line.startswith("dialsum ")]


@pytest.mark.parametrize(("document", "line"), shown_commands())
def test_every_command_that_a_document_shows_parses(document, line):
    import typer

    _, name, *arguments = shlex.split(line)
    group = typer.main.get_command(app)
    assert name in Commands.registered
    group.get_command(None, name).make_context(name, arguments)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_repository_resolve(document):
    for target in LINK.findall(document.read_text("utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_both_readmes_have_the_same_commands_and_headings():
    english, korean = (path.read_text("utf-8") for path in (ROOT / "README.md", ROOT / "docs" / "README.ko.md"))
    assert [line for _, line in shown_commands()].count("dialsum screen --models llama3b,qwen7b") >= 2
    assert len(re.findall(r"^## ", english, re.MULTILINE)) == len(re.findall(r"^## ", korean, re.MULTILINE))
    strip = [re.sub(r" +#.*", "", "".join(BLOCK.findall(text))) for text in (english, korean)]
    assert strip[0] == strip[1]


def test_every_command_is_in_both_readmes():
    for document in (ROOT / "README.md", ROOT / "docs" / "README.ko.md"):
        text = document.read_text("utf-8")
        assert all(f"`dialsum {name}`" in text for name in Commands.registered)


def test_the_changelog_has_its_form():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## Unreleased" in text
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
