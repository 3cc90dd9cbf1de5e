"""Python, its packages, torch and the GPU: each check imports what it looks at, and no more."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dialsum_cli.health.rows import Check, Facts, broken, ok, warning
from dialsum_cli.results import DoctorRow
from dialsum_cli.runs import installed

if TYPE_CHECKING:
    from packaging.requirements import Requirement

WHEELS = "https://download.pytorch.org/whl"
# The oldest driver for each major version of CUDA, and where torch for it is to be had: NVIDIA, CUDA Compatibility,
# "Minor Version Compatibility", table 1 (docs.nvidia.com/deploy/cuda-compatibility).
DRIVERS = {13: (580, "cu130"), 12: (525, "cu126")}
BUSY = 0.5  # share of a GPU's memory that others may hold before it is worth a warning


def python() -> Iterator[DoctorRow]:
    """The interpreter and what it runs on."""
    memory = free_memory()
    room = "" if memory is None else f", {memory / 2**30:.1f} GiB of memory free"
    system = f"{platform.system()} {platform.machine()}"
    found = f"{platform.python_version()} on {system}, {os.cpu_count()} cores{room}"
    yield ok("python", found, {"executable": sys.executable, "free_memory_bytes": memory})


def free_memory() -> int | None:
    """Bytes of memory that a process may still take, a container's limit counted; None: the system doesn't tell."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    kibibytes = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    free = int(kibibytes[1]) * 1024 if kibibytes else None
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if free is not None and limit.is_file() and (most := limit.read_text().strip()) != "max":
        stat = dict(line.split() for line in used.with_name("memory.stat").read_text().splitlines())
        cached = int(stat.get("inactive_file", 0))  # of files that were read: given back when somebody needs it
        free = max(0, min(free, int(most) - int(used.read_text()) + cached))
    return free


def requirements() -> "list[Requirement]":
    """What dialsum needs, optional packages too; nothing where it isn't installed."""
    from packaging.requirements import Requirement

    with suppress(metadata.PackageNotFoundError):
        return [Requirement(line) for line in metadata.requires("dialsum") or ()]
    return []


def packages() -> Iterator[DoctorRow]:
    """Whether every package that dialsum needs is there, in a version that it works with."""
    if not (wanted := requirements()):
        yield warning("packages", "dialsum runs from a folder, and is not installed", "pip install -e .")
        return
    needed = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    faults = 0
    for each in needed:
        there = installed(each.name).get(each.name)
        if there is None or not each.specifier.contains(there, prereleases=True):
            faults += 1
            found = f"{each.name} is {there or 'missing'}, and dialsum needs {each.name}{each.specifier}"
            yield broken("packages", found, f"pip install '{each.name}{each.specifier}'")
    if not faults:
        yield ok("packages", f"all {len(needed)} are there, in versions that dialsum works with")


def torch() -> Iterator[DoctorRow]:
    """Whether torch computes at all."""
    import torch

    product = torch.ones(2, 3) @ torch.ones(3, 2)
    if product.tolist() != [[3.0, 3.0], [3.0, 3.0]]:
        yield broken("torch", f"{torch.__version__} multiplies wrongly: {product.tolist()}", TORCH)
        return
    yield ok("torch", f"{torch.__version__}, CPU threads: {torch.get_num_threads()}")


@dataclass(frozen=True, slots=True)
class Pairing:
    """What torch and the system know of a GPU.

    Attributes:
        built: the version of CUDA (or ROCm) that torch is built for; empty: for the CPU alone.
        available: whether torch can use a GPU.
        why: what torch says where it can't; may be empty.
        driver: version of NVIDIA's driver; empty where there is none.
        device: whether this system, a container perhaps, was given a device of that driver.
        hidden: the variable CUDA_VISIBLE_DEVICES hides all GPUs.
    """

    built: str = ""
    available: bool = False
    why: str = ""
    driver: str = ""
    device: bool = False
    hidden: bool = False


def judge(pairing: Pairing) -> DoctorRow:
    """What a pairing of torch, driver and GPU means."""
    p = pairing
    if p.available:
        return ok("cuda", f"torch is built for {p.built}{f', driver {p.driver}' if p.driver else ''}")
    if not p.driver:
        return warning(
            "cuda", "CPU only: no NVIDIA driver here; models compute in fp32, and those of billions take hours",
            "dialsum screen --base-url http://HOST:8000/v1 --api-model NAME",
        )  # fmt: skip
    if p.hidden:
        return warning("cuda", "CPU only: CUDA_VISIBLE_DEVICES hides every GPU", "unset CUDA_VISIBLE_DEVICES")
    major = int(p.driver.partition(".")[0])
    wheel = next((wheel for _, (oldest, wheel) in sorted(DRIVERS.items(), reverse=True) if major >= oldest), None)
    install = f"pip install --force-reinstall torch --index-url {WHEELS}/{wheel}"
    if wheel is None:
        install = f"install NVIDIA driver {DRIVERS[13][0]} or newer (at least {DRIVERS[12][0]})"
    if not p.built:
        return broken("cuda", f"torch is built for the CPU, beside an NVIDIA GPU (driver {p.driver})", install)
    oldest = DRIVERS.get(int(p.built.partition(".")[0]), (0, ""))[0]
    if major < oldest:
        return broken("cuda", f"driver {p.driver} is too old: torch is built for CUDA {p.built}, which needs {oldest}",
                      install)  # fmt: skip
    if not p.device:
        return broken("cuda", f"driver {p.driver} is there, and no GPU was given to this container",
                      "docker run --gpus all ...")  # fmt: skip
    return broken("cuda", f"torch can't use the GPU (driver {p.driver}, CUDA {p.built}): {p.why}", "nvidia-smi")


def cuda() -> Iterator[DoctorRow]:
    """Whether torch and the driver fit together."""
    import torch

    why = ""
    available = torch.cuda.is_available()
    if torch.version.cuda and not available:
        try:
            torch.cuda.init()
        except RuntimeError as error:
            why = " ".join(str(error).split())
    driver, device = _driver()
    yield judge(
        Pairing(
            built=torch.version.cuda or torch.version.hip or "", available=available, why=why, driver=driver,
            device=device, hidden=os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"),
        )
    )  # fmt: skip


def _driver() -> tuple[str, bool]:
    """The version of NVIDIA's driver, empty for none; and whether one of its devices is to be had."""
    program = shutil.which("nvidia-smi")
    if program:
        query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            asked = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
        except subprocess.TimeoutExpired:
            return _version_in(Path("/proc/driver/nvidia/version")), True  # a driver that hangs: torch will say so
        if not asked.returncode and (found := re.match(r"\d+\.[\d.]+", asked.stdout)):
            return found[0], True
    return _version_in(Path("/proc/driver/nvidia/version")), any(Path("/dev").glob("nvidia[0-9]*"))


def _version_in(file: Path) -> str:
    found = re.search(r"\b\d{3,}\.\d[\d.]*", file.read_text()) if file.is_file() else None
    return found[0] if found else ""


def gpu() -> Iterator[DoctorRow]:
    """Each GPU's memory and formats, and whether it multiplies as a CPU does."""
    import torch

    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name = f"gpu {index}"
        free, total = torch.cuda.mem_get_info(index)
        with torch.cuda.device(index):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            half = torch.bfloat16 if bf16 else torch.float16
            matrix = torch.randn(256, 256, generator=torch.Generator().manual_seed(0)).to(half)
            product = (matrix.cuda() @ matrix.cuda()).float().cpu()
        expected = matrix.float() @ matrix.float()
        error = float((product - expected).norm() / expected.norm())
        facts: Facts = {"free_bytes": free, "total_bytes": total, "bf16": bf16}
        card = f"{torch.cuda.get_device_name(index)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        if error > 0.02:  # both formats of 16 bits are good for 1 %
            yield broken(name, f"{card}: its matrix products are off by {error:.0%}", TORCH, facts)
        elif free < BUSY * total:
            yield warning(name, f"{card}: others hold the rest", "nvidia-smi", facts)
        elif not bf16:
            yield warning(name, f"{card}; no bf16: models are held in fp16, and T5 in fp32", "", facts)
        else:
            yield ok(name, f"{card}, bf16", facts)


TORCH = "pip install --force-reinstall 'torch>=2.8'"
CHECKS = (
    Check("python", python),
    Check("packages", packages, "pip install packaging"),
    Check("torch", torch, TORCH),
    Check("cuda", cuda, "nvidia-smi", needs=("torch",)),
    Check("gpu", gpu, f"pip install --force-reinstall torch --index-url {WHEELS}/cu130", needs=("torch",)),
)
