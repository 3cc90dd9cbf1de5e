"""Where a model's files are: a folder, or one commit of a hub repository, downloaded whole."""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dialsum_cli.errors import DialsumError, RequestError, gigabytes, without_password
from dialsum_cli.runs import write_atomically

logger = logging.getLogger("dialsum")
HTTPError: type[Exception] = HfHubHTTPError.__bases__[0]  # httpx's or httpx2's, whichever this huggingface_hub uses

# What dialsum reads of a repository, its top folder alone: Meta's `original/` and Mistral's `consolidated.safetensors`
# hold the same weights once more. Other formats of weights can run code when they are loaded.
WEIGHTS = re.compile(r"(adapter_)?model(-\d+-of-\d+)?\.safetensors")
NEEDED = re.compile(rf"{WEIGHTS.pattern}|[^/]+\.(json|jinja|txt|model)")
OTHER_WEIGHTS = re.compile(r".*\.(bin|pt|pth|ckpt|h5|msgpack|gguf|onnx)")
_SETTLED = 2_000_000_000  # nanoseconds: a file that changed since could change again within its time stamp's grain


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files on this disk, those aside that are still to be downloaded.

    Attributes:
        name: the folder or repository that was asked for.
        folder: where the files are, or will be.
        revision: commit of the hub repository; None for a folder.
        missing: the files that are not here yet, with their bytes.
        note: what the user should know about where the files come from; may be empty.
    """

    name: str
    folder: Path
    revision: str | None = None
    missing: tuple[tuple[str, int], ...] = ()
    note: str = ""

    @property
    def missing_bytes(self) -> int:
        """How much is still to be downloaded."""
        return sum(size for _, size in self.missing)

    def identity(self) -> str:
        """What no other weights share: the commit, or a hash of the folder's files.

        Raises:
            DialsumError: the folder can't be read.
        """
        return f"{self.name}@{self.revision}" if self.revision else f"sha256:{_folder_hash(self.folder)}"


def find(name: str, revision: str | None = None) -> Source:
    """Find a model and, for one on the hub, download its configuration and tokenizer; its weights are left for `fetch`.

    Args:
        name: a folder (of a `finetune` run as well), or a Hugging Face id.
        revision: commit, tag or branch of the repository; the newest of `main` if not given.

    Raises:
        RequestError: no such repository, none that may be read, or one without safetensors.
        DialsumError: the hub can't be reached and the cache does not have the model.
    """
    if os.path.isdir(name):
        inner = Path(name) / "model"
        is_run = any((inner / file).is_file() for file in ("config.json", "adapter_config.json"))
        return Source(name, inner if is_run else Path(name))
    with _explained(name):
        try:
            info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=30)
        except (OfflineModeIsEnabled, HTTPError) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
                raise
            cached = snapshot_download(name, revision=revision, local_files_only=True, allow_patterns="*config.json")
            commit = Path(cached).name
            offline = isinstance(error, OfflineModeIsEnabled)  # as the user wants it: nothing to say
            note = "" if offline else f"the hub can't be reached: {name} is commit {commit[:8]} from the cache"
            return Source(name, Path(cached), commit, note=note)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or [] if NEEDED.fullmatch(file.rfilename)}
        if not any(map(WEIGHTS.fullmatch, sizes)):
            others = [file.rfilename for file in info.siblings or [] if OTHER_WEIGHTS.fullmatch(file.rfilename)]
            raise RequestError(
                f"{name} has no weights as safetensors" + (f", only {others[0]}" if others else ""),
                "choose a repository that has: other formats can run code when they are loaded",
            )
        small = [file for file in sizes if not WEIGHTS.fullmatch(file)]
        # By its branch first, so that the cache knows later, offline, what the branch was; then by its commit.
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=small))
        commit = folder.name
        missing = tuple(
            (file, size)
            for file, size in sizes.items()
            if not isinstance(try_to_load_from_cache(name, file, revision=commit), str)
        )
        return Source(name, folder, commit, missing)


def fetch(source: Source) -> None:
    """Download what is missing, once it is certain that the disk has room for it.

    Raises:
        DialsumError: no room, or the transfer broke off.
    """
    if not source.missing:
        return
    with _explained(source.name):
        if source.missing_bytes > (free := free_disk(source.folder)):
            raise OSError(errno.ENOSPC, f"{gigabytes(source.missing_bytes)} to download, {gigabytes(free)} free")
        snapshot_download(source.name, revision=source.revision, allow_patterns=[file for file, _ in source.missing])


def own_cache() -> Path:
    """The folder of what dialsum itself has computed and may want again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dialsum"


def free_disk(folder: Path) -> int:
    """Free bytes of the disk on which a folder is, or will be."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """The hub's errors as ours: what is wrong in one line, and what to do about it."""
    try:
        yield
    except GatedRepoError as error:
        remedy = f"accept its licence at {without_password(constants.ENDPOINT)}/{name}, then `hf auth login`"
        raise RequestError(f"{name} is gated: its licence has to be accepted first", remedy) from error
    except RepositoryNotFoundError as error:
        raise RequestError(
            f"the hub has no repository '{name}', or it is private", "check the id, or `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise RequestError(f"{name} has no such revision", "check the commit or branch") from error
    except LocalEntryNotFoundError as error:
        unreachable = f"{without_password(constants.ENDPOINT)} can't be reached"
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable
        remedy = "unset HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "check the network, or HF_ENDPOINT"
        raise DialsumError(f"{name} is not whole in the cache, and {why}", remedy) from error
    except (OSError, HTTPError) as error:
        raise _explain(name, error) from error


def _explain(name: str, error: Exception) -> DialsumError:
    line = without_password((str(error).strip() or type(error).__name__).splitlines()[0][:200])
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
        return RequestError(f"the hub refuses {name} to you: {line}", "`hf auth login`")
    if isinstance(error, HTTPError) or line.startswith("Consistency check failed"):
        return DialsumError(
            f"{name}: the download broke off: {line}", "run the same command again: files that are whole stay"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return DialsumError(
            f"the disk of {constants.HF_HUB_CACHE} has no room for {name}: {error.strerror}",
            "`dialsum cache-clean`, or set HF_HOME to a larger disk",
        )
    return DialsumError(f"{name} can't be downloaded: {line}", "check HF_HOME and its permissions")


def _folder_hash(folder: Path) -> str:
    """A hash of the names and contents of a folder's own files; each file is read once as long as it stays as it is."""
    notes = own_cache() / "hashes" / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]}.json"
    try:
        known = json.loads(notes.read_bytes()) if notes.exists() else {}
    except ValueError:
        known = {}
    hashes, settled = {}, {}
    try:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            state = path.stat()
            stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
            if known.get(path.name, [None])[:-1] == stamp:
                hashes[path.name] = known[path.name][-1]
            else:
                with path.open("rb") as file:
                    hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
            if time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > _SETTLED:
                settled[path.name] = [*stamp, hashes[path.name]]
    except OSError as error:
        raise DialsumError(f"can't read '{error.filename}': {error.strerror}", "check its permissions") from None
    if settled != known:
        try:
            write_atomically(notes, json.dumps(settled), overwrite=True)
        except DialsumError as error:
            logger.warning("%s: the files of '%s' will be read again next time", error, folder)
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
