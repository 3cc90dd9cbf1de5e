"""How torch is told to hold a GPU's memory."""

import subprocess
import sys

import pytest

from dialsum_cli.allocator import settings

WHOLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize(
    ("system", "release", "environment", "set_to"),
    [
        ("linux", "6.8.0-45-generic", {}, WHOLE),
        ("linux", "6.6.87.2-microsoft-standard-WSL2", {}, {}),
        ("linux", "4.4.0-19041-Microsoft", {}, {}),
        ("win32", "11", {}, {}),
        ("linux", "6.8.0", {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"}, {}),
        ("linux", "6.8.0", {"PYTORCH_ALLOC_CONF": "expandable_segments:False"}, {}),
    ],
)
def test_memory_stays_in_one_piece_where_drivers_can_and_nobody_said_otherwise(system, release, environment, set_to):
    assert settings(system, release, environment) == set_to


@pytest.mark.gpu
@pytest.mark.parametrize("imports", ["import dialsum_cli, torch", "import torch, dialsum_cli"])
def test_torch_does_as_it_is_told(imports):
    told = 'torch.cuda.memory._snapshot()["allocator_settings"]["expandable_segments"]'
    program = [sys.executable, "-c", f"{imports}\ntorch.zeros(1, device='cuda')\nassert {told}"]
    subprocess.run(program, check=True)
