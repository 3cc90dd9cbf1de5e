"""Run the notebooks of this folder and keep what they show: `python examples/notebooks.py [NOTEBOOK...]`."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
SECONDS = 600  # for one cell; a whole notebook takes less than two minutes on two idle cores


def run(path: Path) -> nbformat.NotebookNode:
    """The notebook with new outputs, run in a folder of its own; nothing in it tells when or where.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # more threads are slower for models as tiny as these
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm misses widgets for bars that nobody draws
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=SECONDS, record_timing=False, resources={"metadata": {"path": folder}}
        )
        client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.validate(notebook)
    return notebook


if __name__ == "__main__":
    for given in sys.argv[1:] or sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(run(Path(given)), given)
        print(given)
