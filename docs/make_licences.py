"""Writes docs/licences.md: what pyproject.toml asks for, each with its licence and what it is for."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
NAMES = ["package", "versions", "licence", "what it is for"]
INTRODUCTION = """# Licences

Written by `python docs/make_licences.py` from `pyproject.toml`; a test compares the page with it, and each licence with
what the installed package says of itself. These are the packages that dialsum asks for; what they bring along has
licences of its own, which `pip show NAME` tells. dialsum contains none of them: pip fetches them from their authors."""
OWN = """## What comes with dialsum

The code, the prompts, the synthetic corpus (`dialsum_cli/data/bundled/`) and the two tiny models
(`dialsum_cli/models/bundled/`) are MIT, as [LICENSE](../LICENSE) has it. Scripts wrote the corpus
([how](../examples/corpus/README.md)), and the models were trained on it from random weights: neither holds anything of
another corpus or model. dialsum's ROUGE is code of its own that computes what `rouge` 1.0.1 computes.

## What does not

* **Models that you download** have their authors' licences: `dialsum models` shows them. What a fine-tuning or a merge
  writes is derived from its base model, and bound by that licence.
* **Data of your own**, such as a contest's, keep their licence, which may also bind what is trained on them.
* **The GPU builds of torch** bring NVIDIA's CUDA libraries, under NVIDIA's own terms."""

# Package -> its licence (SPDX) and what it is for. `python-mecab-ko` has MeCab compiled in, which may be used under
# GPL, LGPL or BSD; `rouge` names no licence in its metadata, and its LICENSE is the Apache one.
KNOWN = {
    "accelerate": ("Apache-2.0", "work in several processes"),
    "anyio": ("MIT", "many requests to a server at once"),
    "bitsandbytes": ("MIT", "weights of 4 bits, optimizers of 8"),
    "datasets": ("Apache-2.0", "data sets of the hub, and, with its pyarrow, Parquet files"),
    "filelock": ("MIT", "run folders that nobody else writes to"),
    "gguf": ("MIT", "tests: a model of a format that is refused"),
    "httpx2": ("BSD-3-Clause", "requests to a server"),
    "huggingface_hub": ("Apache-2.0", "downloads, and their cache"),
    "hypothesis": ("MPL-2.0", "tests: invariants"),
    "import-linter": ("BSD-2-Clause", "checks: import layers"),
    "ipykernel": ("BSD-3-Clause", "tests: notebooks"),
    "liger-kernel": ("BSD-2-Clause", "a fused kernel for training on a GPU"),
    "mypy": ("MIT", "checks: types"),
    "nbclient": ("BSD-3-Clause", "tests: notebooks"),
    "nbformat": ("BSD-3-Clause", "tests: notebooks"),
    "optuna": ("MIT", "`dialsum tune`"),
    "pandas": ("BSD-3-Clause", "results as data frames"),
    "pandas-stubs": ("BSD-3-Clause", "checks: types"),
    "peft": ("Apache-2.0", "LoRA adapters"),
    "platformdirs": ("MIT", "where caches are"),
    "pydantic": ("MIT", "settings and results"),
    "pydantic-settings": ("MIT", "settings from variables and files"),
    "pytest": ("MIT", "tests"),
    "pytest-cov": ("MIT", "tests: what they reach"),
    "pytest-xdist": ("MIT", "tests: side by side"),
    "python-mecab-ko": ("BSD-3-Clause", "Mecab, which cuts texts into morphemes for the metric"),
    "python-mecab-ko-dic": ("Apache-2.0", "Mecab's dictionary, mecab-ko-dic 2.1.1"),
    "python-mecab-ko-py313": ("BSD-3-Clause", "Mecab for newer Pythons"),
    "pyyaml": ("MIT", "settings files, prompts"),
    "regex": ("Apache-2.0 AND CNRI-Python", "letters by their script"),
    "rich": ("MIT", "what the terminal shows"),
    "rouge": ("Apache-2.0", "`dialsum score --verify`"),
    "ruff": ("MIT", "checks: style"),
    "torch": (
        "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSD-2-Clause AND BSD-3-Clause AND BSL-1.0 AND MIT",
        "everything that computes",
    ),
    "transformers": ("Apache-2.0", "models and tokenizers"),
    "typer": ("MIT", "the command line"),
    "types-pyyaml": ("Apache-2.0", "checks: types"),
    "types-regex": ("Apache-2.0", "checks: types"),
    "vllm": ("Apache-2.0", "`--engine vllm`"),
    "wandb": ("MIT", "`--wandb`"),
}


def page() -> str:
    """The whole page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sections = [INTRODUCTION, "## Installed with dialsum", table(project["dependencies"])]
    for extra, requirements in project["optional-dependencies"].items():
        use = "to develop it" if extra == "dev" else f"`pip install 'dialsum[{extra}]'`"
        sections += [f"## Extra `{extra}`: {use}", table(requirements)]
    return "\n\n".join([*sections, OWN]) + "\n"


def table(requirements: Iterable[str]) -> str:
    """A row for each requirement."""
    rows = [NAMES, ["---"] * len(NAMES), *(row(each) for each in requirements)]
    return "\n".join(
        f"| {' | '.join(cells)} |".replace("| --- | --- | --- | --- |", "|---|---|---|---|") for cells in rows
    )


def row(requirement: str) -> list[str]:
    """One of `pyproject.toml`'s lines: name, extras, versions; marker."""
    wanted, _, marker = requirement.partition(";")
    name, versions = re.fullmatch(r"([\w.-]+)(?:\[\w+\])?(.*)", wanted.strip()).groups()  # type: ignore[union-attr]
    licence, use = KNOWN[name.lower()]
    return [
        f"`{name}`",
        versions.replace(",", ", ") or "any",
        licence,
        use + (f" ({marker.strip()})" if marker else ""),
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
