"""Where the caches are, as each tool's own variables say, and which folders are never taken for one."""

import getpass
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from huggingface_hub import constants
from platformdirs import user_cache_dir, user_data_dir

from dialsum_cli.errors import RequestError
from dialsum_cli.settings import CACHES

# Folders of the system (Filesystem Hierarchy Standard 3.0): whatever holds one of them is no cache.
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys",
          "/usr", "/usr/local", "/var")  # fmt: skip
TOKENS = (Path(constants.HF_TOKEN_PATH), Path(constants.HF_STORED_TOKENS_PATH))


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is all cache: absolute, no link in it; `identity` is its device and inode.

    `command` is what its own tool is called with to empty it; () where nothing but its files counts.
    """

    cache: str
    path: Path
    identity: tuple[int, int]
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """What the variables say of a cache: its folder, and the folder that one of them names, which holds it."""

    cache: str
    path: Path
    base: Path
    variable: str
    command: tuple[str, ...] = ()


def locate(caches: Sequence[str], runs: Sequence[Path]) -> list[Root]:
    """The caches' folders that exist.

    Raises:
        RequestError: a variable is empty, or a folder is no cache: a link, the system's, the user's home, one that
            holds the working folder, the runs or Python; or a tool's own command is not there.
    """
    roots: dict[Path, Root] = {}
    for place in _places(caches, runs):
        _check(place, runs)
        if not place.path.exists():
            continue
        path = place.path.resolve()
        state = path.stat()
        if path in roots:
            raise RequestError(
                f"the {place.cache} cache and the {roots[path].cache} cache are one folder, '{path}'",
                f"change {place.variable}, or leave one out with --only",
            )
        roots[path] = Root(place.cache, path, (state.st_dev, state.st_ino), place.command)
    return list(roots.values())


def all_paths() -> list[Path]:
    """Where caches are looked for without running their tools, whether they exist or not."""
    return [place.path.resolve() for place in _places((*CACHES, "wandb-staging"), ())]


def _places(caches: Sequence[str], runs: Sequence[Path]) -> Iterator[_Place]:
    _first("HOME")
    hub_home = _first("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    home, home_variable = Path(constants.HF_HOME), "HF_HOME"
    _first("HF_HOME", "XDG_CACHE_HOME")
    if {"hub", "hub-data", "leftovers"} & set(caches):
        hub = Path(constants.HF_HUB_CACHE)
        yield _Place("hub", hub, hub if hub_home else home, hub_home or home_variable)
    if "xet" in caches:
        xet = Path(constants.HF_XET_CACHE)
        variable = _first("HF_XET_CACHE")
        yield _Place("xet", xet, xet if variable else home, variable or home_variable)
    if "datasets" in caches:
        variable = _first("HF_DATASETS_CACHE")
        folder = Path(os.environ["HF_DATASETS_CACHE"]) if variable else home / "datasets"
        yield _Place("datasets", folder, folder if variable else home, variable or home_variable)
    for cache, variable, default, inner in (
        ("wandb", "WANDB_CACHE_DIR", user_cache_dir("wandb"), "artifacts"),
        ("wandb-staging", "WANDB_DATA_DIR", user_data_dir("wandb"), "artifacts/staging"),
    ):
        if cache in caches:
            base = Path((_first(variable) and os.environ[variable]) or default)
            yield _Place(cache, base / inner, base, variable)
    if "inductor" in caches:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a number without a name, as in a container
            user = f"uid_{os.getuid()}"
        user = re.sub(r'[\\/:*?"<>|]', "_", user)  # both as torch._inductor.runtime.cache_dir_utils has it
        default = f"{tempfile.gettempdir()}/torchinductor_{user}"
        variable = _first("TORCHINDUCTOR_CACHE_DIR")
        folder = Path(os.environ[variable] if variable else default)
        yield _Place("inductor", folder, folder, "TORCHINDUCTOR_CACHE_DIR")
    if "triton" in caches:
        if _first("TRITON_CACHE_DIR"):
            folder = Path(os.environ["TRITON_CACHE_DIR"])
            yield _Place("triton", folder, folder, "TRITON_CACHE_DIR")
        else:
            base = Path(os.environ["TRITON_HOME"] if _first("TRITON_HOME") else Path.home()) / ".triton"
            yield _Place("triton", base / "cache", base, "TRITON_HOME")
    if "uv" in caches:
        yield _own_command("uv", [_program("uv")], ["cache", "dir"], ["cache", "clean"], "UV_CACHE_DIR")
    if "pip" in caches:
        yield _own_command("pip", [sys.executable, "-m", "pip"], ["cache", "dir"], ["cache", "purge"], "PIP_CACHE_DIR")
    if "checkpoints" in caches:
        found = {folder.resolve(): folder for run in runs for folder in sorted(run.glob("**/checkpoints"))}
        for folder in found.values():
            if (folder.parent / "settings.yaml").is_file():
                yield _Place("checkpoints", folder, folder, "--runs")


def _first(*variables: str) -> str:
    """The first of these variables that is set; an empty one would make the working folder a cache."""
    for variable in variables:
        value = os.environ.get(variable)
        if value == "":
            raise RequestError(
                f"{variable} is set but empty: the working folder would be taken for a cache", f"unset {variable}"
            )
        if value is not None:
            return variable
    return ""


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise RequestError(f"--include {name}: there is no program `{name}` here", f"leave {name} out")
    return found


def _own_command(cache: str, program: list[str], ask: list[str], clean: list[str], variable: str) -> _Place:
    asked = subprocess.run([*program, *ask], capture_output=True, text=True, check=False)
    if asked.returncode or not asked.stdout.strip():
        line = (asked.stderr.strip().splitlines() or ["it names no folder"])[-1]
        raise RequestError(f"--include {cache}: `{cache} cache dir` fails: {line}", f"leave {cache} out")
    _first(variable)
    path = Path(asked.stdout.strip())
    return _Place(cache, path, path, variable, (*program, *clean))


def _check(place: _Place, runs: Sequence[Path]) -> None:
    home = Path(os.path.expanduser("~")).resolve()
    for folder in (place.base, place.path):
        if folder.is_symlink():
            remedy = f"export {place.variable}={quote(str(folder.resolve()))}"
            if place.cache == "checkpoints":
                remedy = "leave checkpoints out, or move them to where they belong"
            elif folder != place.base:  # of the folder that the variable names, a part
                own = {"hub": "HF_HUB_CACHE", "xet": "HF_XET_CACHE", "datasets": "HF_DATASETS_CACHE"}.get(place.cache)
                remedy = f"export {own}={quote(str(folder.resolve()))}" if own else f"move it out of {place.variable}"
            raise RequestError(f"the {place.cache} cache '{folder}' is a link", remedy)
        if folder.resolve() in (home, Path("/")):
            what = "the root of the file system" if folder.resolve() == Path("/") else "your home"
            raise RequestError(
                f"the {place.cache} cache can't be in '{folder}' itself, {what}",
                f"set {place.variable} to a folder of its own",
            )
    path = place.path.resolve()
    if path.exists() and not path.is_dir():
        raise RequestError(f"the {place.cache} cache '{path}' is no folder", f"set {place.variable} to a folder")
    own_runs = () if place.cache == "checkpoints" else runs
    inside = {
        "your home": [home],
        "the working folder": [Path.cwd()],
        "the folder for temporary files": [Path(tempfile.gettempdir())],
        "Python": [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1]],
        "folders of the system": [Path(folder) for folder in SYSTEM],
        "your runs": list(own_runs),
    }
    for what, folders in inside.items():
        if any(folder.resolve().is_relative_to(path) for folder in folders):
            remedy = f"set {place.variable} to a folder of its own"
            raise RequestError(
                f"'{path}' is no cache: it holds {what}", "cd to another folder" if "working" in what else remedy
            )
