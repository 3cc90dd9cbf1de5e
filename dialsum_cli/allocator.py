"""How torch holds a GPU's memory: in one piece that grows."""

import os
import sys
from collections.abc import Mapping

# The older name: torch 2.9 knows the newer one as well, and does not obey it on a GPU (pytorch issue 183387).
NAMES = "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"


def keep_whole() -> None:
    """Tell torch, which is not imported yet."""
    if sys.platform == "linux":
        os.environ.update(settings(os.path.exists("/dev/nvidiactl"), os.uname().release, os.environ))


def settings(nvidia: bool, kernel: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to set on a Linux with this kernel, and with NVIDIA's driver or without; what the user set stands.

    Otherwise batches of ever-changing sizes leave the memory in pieces that nothing fits into. Measured on an H200: a
    training that took 69 GiB held 101, and 68.5 in one piece; under 22 GiB an 8B model in NF4 summarised 499 dialogues
    in 14.1 s, its batches halved three times, and in 11.3 s in one piece. Windows' Linux and Jetsons have drivers that
    fail at it (pytorch issue 192330, unsloth-zoo 1235), and torch for AMD may hang (pytorch issue 192259).
    """
    if not nvidia or "microsoft" in kernel.lower() or "tegra" in kernel or any(name in environment for name in NAMES):
        return {}
    return {NAMES[0]: "expandable_segments:True"}
