"""How torch is told to hold a GPU's memory."""

import os
import subprocess
import sys

import pytest

from dialsum_cli.allocator import NAMES, settings

WHOLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize(
    ("nvidia", "kernel", "environment", "set_to"),
    [
        (True, "6.8.0-45-generic", {}, WHOLE),
        (False, "6.8.0-45-generic", {}, {}),
        (True, "6.6.87.2-microsoft-standard-WSL2", {}, {}),
        (True, "4.4.0-19041-Microsoft", {}, {}),
        (True, "5.15.148-tegra", {}, {}),
        (True, "6.8.0", {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"}, {}),
        (True, "6.8.0", {"PYTORCH_ALLOC_CONF": "expandable_segments:False"}, {}),
    ],
)
def test_memory_stays_in_one_piece_where_drivers_can_and_nobody_said_otherwise(nvidia, kernel, environment, set_to):
    assert settings(nvidia, kernel, environment) == set_to


def told(then: str, **environment: str) -> str:
    """What a program prints that imports dialsum, and then does something, its environment free of what tests set."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    program = [sys.executable, "-c", f"import dialsum_cli, os\n{then}"]
    return subprocess.run(program, env=kept | environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def test_what_the_user_has_set_stands():
    assert told(f"print(os.environ['{NAMES[0]}'])", **{NAMES[0]: "max_split_size_mb:64"}) == "max_split_size_mb:64"


@pytest.mark.gpu
def test_torch_does_as_it_is_told():
    setting = 'torch.cuda.memory._snapshot()["allocator_settings"]["expandable_segments"]'
    assert told(f"import torch\ntorch.zeros(1, device='cuda')\nprint({setting})") == "True"
