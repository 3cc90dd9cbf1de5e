"""What is known of a model and a machine before its weights are there."""

import pytest
import torch

from dialsum_cli.models.planning import allocator, device

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
    assert allocator(system, release, environment) == set_to


@pytest.mark.gpu
def test_torch_reads_the_setting_after_its_import():
    held = torch.zeros(1, device=device())
    assert torch.cuda.memory._snapshot()["allocator_settings"]["expandable_segments"], held
