"""The notebooks: each runs from its first cell to its last, and what is kept in the repository reads well."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
OF_THIS_MACHINE = re.compile(r"/(?:tmp|home|root|Users|work|var|opt)/|site-packages|\.venv")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def load_runner():
    spec = importlib.util.spec_from_file_location("notebooks", EXAMPLES / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """The kinds of output of each cell of code, in their order: MIME types, or the stream's name."""
    return [
        [output.get("name") or ", ".join(sorted(output.get("data", {}))) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@each_notebook
def test_what_is_kept_reads_well(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    kinds = [kind for outputs in shown(notebook) for kind in outputs]
    assert "stderr" not in kinds
    assert "text/html, text/plain" in kinds
    assert "image/svg+xml, text/plain" in kinds
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type in ("stream", "execute_result")
            text = output.get("text") or "".join(map(str, output.data.values()))
            assert not OF_THIS_MACHINE.search(text)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.slow
@each_notebook
def test_every_cell_runs_and_shows_what_is_kept(path):
    assert shown(load_runner().run(path)) == shown(nbformat.read(path, as_version=4))
