"""What all tests share."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: more threads than cores make tests crawl
os.environ["HF_HUB_OFFLINE"] = "1"  # no test downloads a model by accident
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import subprocess
import sys
from pathlib import Path

import pytest

for _name in [name for name in os.environ if name.upper().startswith("DIALSUM_")]:
    del os.environ[_name]  # the options of whoever runs the tests are not the tests' own

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_runtest_setup(item):
    """A test that is marked `gpu` skips where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What is cached, or deleted, by a test or a program that it starts: nothing of the user's own caches."""
    places = ("XDG_CACHE_HOME", "XDG_DATA_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "WANDB_CACHE_DIR",
              "WANDB_DATA_DIR")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for place in places:
            patch.setenv(place, str(tmp_path_factory.mktemp(place.lower())))
        yield


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
