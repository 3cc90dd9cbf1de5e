"""What all tests share."""

import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import given  # noqa: F401 - remembers the environment before it changes
import pytest
from hypothesis import settings

# Of whoever runs the tests: options, keys, caches that a test could empty, what colours a pipe or sizes it, proxies.
THEIRS = re.compile(
    r"(DIALSUM|HF|HUGGINGFACE|HUGGING_FACE|OPENAI|TRANSFORMERS|UV|WANDB)_.*|TRITON_HOME|PIP_CACHE_DIR|GITHUB_ACTIONS|"
    r"(CLICOLOR_)?FORCE_COLOR|NO_COLOR|PY_COLORS|TTY_.*|COLUMNS|LINES|TERMINAL_WIDTH|(HTTP|HTTPS|ALL)_PROXY",
    re.IGNORECASE,
)
for _name in [name for name in os.environ if THEIRS.fullmatch(name)]:
    del os.environ[_name]
OWN = Path(tempfile.mkdtemp(prefix="dialsum-tests-"))  # what is cached, or deleted, by a test or a program it starts
for _name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR",
              "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):  # fmt: skip
    os.environ[_name] = str(OWN / _name.lower())
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: more threads than cores make tests crawl
os.environ["HF_HUB_OFFLINE"] = "1"  # no test downloads a model by accident
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("dialsum", deadline=None)  # a busy machine may take 200 ms for anything
settings.load_profile("dialsum")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_configure(config):
    """Let tests see a GPU only where they are run for it, with `-m gpu`: else they compute alike everywhere."""
    chosen = config.option.markexpr
    if "gpu" not in chosen or "not gpu" in chosen:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_finish():
    """What is imported by now lives as long as the tests: every `gc.collect` of a model would look through it."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Remove what tests have cached."""
    shutil.rmtree(OWN, ignore_errors=True)


def pytest_runtest_setup(item):
    """A test that is marked `gpu` skips where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and `-m gpu`")


@pytest.fixture
def shared_data() -> Path:
    """Real data that can't be part of the project; tests that need it skip where it is absent."""
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip("needs the real data set in ../shared/data, which is not here")
    return data


@pytest.fixture
def dialsum(tmp_path):
    """Run the `dialsum` program in an empty folder, as a user would."""

    def run(*arguments: object, check: int | None = 0, env: dict[str, str] | None = None, **options):
        command = [sys.executable, "-m", "dialsum_cli", *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DIALSUM_")} | (
            env or {}
        )
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, **options)
        if check is not None:
            assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
