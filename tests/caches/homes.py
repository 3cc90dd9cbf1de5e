"""A user's folders with all caches that `cache-clean` knows, as the tools themselves lay them out."""

import hashlib
import os
import time
from pathlib import Path

KEPT = "Bllossom/llama-3.2-Korean-Bllossom-3B"  # `llama3b`
ENDPOINT = "https___cas_serv-tGqkUaZf_CBPHQ6h"  # a folder as hf_xet names it
KERNEL = "UFEXKUOVO5XTMXYVBLQHWCGUUM2SZ4W4QS2NK5VBRZ6YPMWIMGKA"  # one as triton does
SIBLINGS = ("a/model", "a/model-large", "a/mod", "b/model", KEPT, f"{KEPT}-large", "gpt2")


class Home:
    """All caches below one folder; `environment` makes a program use them, and no other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.user = root / "home"
        self.cache = self.user / ".cache"
        self.hugging_face = self.cache / "huggingface"
        self.hub = self.hugging_face / "hub"
        self.runs = root / "work" / "runs"
        self.temporary = root / "tmp"
        for folder in (self.user, self.runs, self.temporary):
            folder.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.user),
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_DATA_HOME": str(self.user / ".local" / "share"),
            "TMPDIR": str(self.temporary),
            "HF_HOME": str(self.hugging_face),
            "HF_HUB_CACHE": str(self.hub),
            "HF_XET_CACHE": str(self.hugging_face / "xet"),
            "HF_DATASETS_CACHE": str(self.hugging_face / "datasets"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.temporary / "torchinductor"),
            "TRITON_CACHE_DIR": str(self.user / ".triton" / "cache"),
            "WANDB_CACHE_DIR": str(self.cache / "wandb"),
            "WANDB_DATA_DIR": str(self.user / ".local" / "share" / "wandb"),
            "PIP_CACHE_DIR": str(self.cache / "pip"),
            "UV_CACHE_DIR": str(self.cache / "uv"),
        }

    def add(self, name: str, *revisions: dict[str, bytes], kind: str = "model") -> Path:
        """A repository as huggingface_hub lays it out: each content once, a snapshot of links for each revision."""
        folder = self.hub / f"{kind}s--{name.replace('/', '--')}"
        (folder / "blobs").mkdir(parents=True)
        (folder / "refs").mkdir()
        for number, files in enumerate(revisions):
            commit = hashlib.sha1(f"{name}@{number}".encode()).hexdigest()
            (folder / "refs" / ("main" if number == 0 else f"v{number}")).write_text(commit)
            for file, content in files.items():
                blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
                blob.write_bytes(content)
                link = folder / "snapshots" / commit / file
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(os.path.relpath(blob, link.parent))
        return folder

    def snapshot(self, name: str) -> Path:
        folder = self.hub / f"models--{name.replace('/', '--')}"
        return folder / "snapshots" / (folder / "refs" / "main").read_text()

    def models(self) -> list[str]:
        return sorted(path.name[8:].replace("--", "/") for path in self.hub.glob("models--*"))


def write(path: Path, size: int) -> Path:
    """A file of random bytes, folders included: random, so that no file system stores it in less."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def age(path: Path, seconds: float) -> Path:
    """Let a file be that old."""
    when = time.time() - seconds
    os.utime(path, (when, when))
    return path


def weights(size: int) -> dict[str, bytes]:
    return {"config.json": os.urandom(300), "model.safetensors": os.urandom(size)}


def on_disk(*folders: Path) -> int:
    """Bytes as `du` counts them, folders left out: allocated blocks, each inode once."""
    inodes = {}
    for folder in folders:
        for above, inner, files in os.walk(folder):
            for name in [*files, *inner]:
                state = os.lstat(os.path.join(above, name))
                if not os.path.isdir(os.path.join(above, name)) or os.path.islink(os.path.join(above, name)):
                    inodes[state.st_dev, state.st_ino] = state.st_blocks * 512
    return sum(inodes.values())


def contents(folder: Path) -> dict[str, object]:
    """All that is in a folder: what files hold, where links lead."""
    found: dict[str, object] = {}
    for above, inner, files in os.walk(folder):
        for name in [*files, *inner]:
            path = Path(above) / name
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            else:
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found
