"""What stays without being asked for: bases of runs, files that are open, tokens, what was not uploaded yet."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dialsum_cli.caches.roots import TOKENS, all_paths
from dialsum_cli.errors import RequestError

Guard = tuple[Path, str]  # what is at or below this path stays, and why
OTHER_RUNS = "mend or remove that file, or name other --runs"


def guards(roots: Iterable[Path], runs: Sequence[Path]) -> list[Guard]:
    """The paths that stay, whatever cache they are in."""
    roots = list(roots)
    found = [(path.absolute(), "a token") for path in TOKENS]
    found += [(path, f"holds another cache, '{path}'") for path in all_paths()]
    found += [(run.resolve(), "holds your runs") for run in runs]
    return [*found, *open_files(roots)]


def open_files(roots: Iterable[Path]) -> Iterator[Guard]:
    """Files below the roots that another process has open or mapped; of the processes that /proc shows to us.

    Where there is no /proc, there is nothing to be told. A folder that is open is only being looked at.
    """
    inside = tuple(f"{root}{os.sep}" for root in roots)
    if not inside or not os.path.isdir("/proc/self/fd"):
        return
    for process in os.scandir("/proc"):
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        for path in _open_in(process.path):
            if path.startswith(inside) and not os.path.isdir(path):
                yield Path(path), f"open in process {process.name}"


def _open_in(process: str) -> Iterator[str]:
    try:
        with open(f"{process}/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for line in maps:
                if (start := line.find("/")) > 0:
                    # The kernel writes a newline in a name as \012 (proc_pid_maps(5)).
                    yield line[start:].rstrip("\n").replace("\\012", "\n")
        for descriptor in os.listdir(f"{process}/fd"):
            with suppress(FileNotFoundError):  # closed meanwhile
                yield os.readlink(f"{process}/fd/{descriptor}")
    except (FileNotFoundError, PermissionError, ProcessLookupError):  # it has ended, or is somebody else's
        return


def bases_of_runs(runs: Iterable[Path]) -> dict[str, str]:
    """The models, ids or paths, that run folders are based on, with the run; hidden folders are still being written.

    Raises:
        RequestError: what a run is based on can't be read: it might be anything.
    """
    bases: dict[str, str] = {}
    for folder, files, linked in _folders(runs):
        for name in ("provenance.json", "configuration.json", "adapter_config.json"):
            try:
                found = _bases([folder / name], OTHER_RUNS) if name in files else set[str]()
            except RequestError:
                if not linked:
                    raise
                found = set()  # somebody else's, behind a link
            for base in found:
                bases[base] = str(folder)
                if os.path.isdir(base):  # an adapter's own folder, wherever it is
                    bases |= dict.fromkeys(bases_of_folder(Path(base)), str(folder))
    return bases


def _folders(runs: Iterable[Path]) -> Iterator[tuple[Path, list[str], bool]]:
    """All folders below the runs' with their files, and whether they lie behind a link.

    Links are followed for those who keep runs on a larger disk. What holds the runs themselves is no such place, and
    what can't be read behind a link is somebody else's.
    """
    seen = set()
    for run in runs:
        links = list[Path]()
        for folder, inner, files in os.walk(run, onerror=_unreadable):
            linked = [Path(folder, name) for name in inner if os.path.islink(os.path.join(folder, name))]
            links += [link for link in linked if not link.name.startswith(".")]
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            yield Path(folder), files, False
        for link in links:
            target = link.resolve()
            if run.resolve().is_relative_to(target) or target in seen:
                continue
            seen.add(target)
            for folder, inner, files in os.walk(target):
                inner[:] = sorted(name for name in inner if not name.startswith("."))
                yield Path(folder), files, True


def bases_of_adapters(repository: Path) -> set[str]:
    """The models that a cached repository's adapters are based on.

    Raises:
        RequestError: an adapter can't be read.
    """
    remedy = f"delete the folder '{repository}': it is downloaded again when it is needed"
    return _bases(sorted(repository.glob("snapshots/*/adapter_config.json")), remedy)


def bases_of_folder(folder: Path) -> set[str]:
    """The model that an adapter in a folder, or in the folder of a run, is based on.

    Raises:
        RequestError: the adapter can't be read.
    """
    return _bases([folder / inner / "adapter_config.json" for inner in ("", "model")], "copy that folder again")


def _bases(paths: Iterable[Path], remedy: str) -> set[str]:
    return {base for path in paths for base in _named_in(path, remedy) if isinstance(base, str) and base}


def _named_in(path: Path, remedy: str) -> list[object]:
    try:
        content = json.loads(path.read_bytes())
        base = content.get("base_model_name_or_path") or content.get("model")
        return [base, *(content.get("average_logits") or ())]
    except FileNotFoundError:  # it has gone since it was listed
        return []
    except (OSError, ValueError, AttributeError, TypeError) as error:
        line = " ".join(str(error).split())
        raise RequestError(f"can't tell which model '{path}' is based on: {line}", remedy) from None


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # it has gone since it was listed
        raise RequestError(
            f"can't tell which models the runs in '{error.filename}' are based on: {error.strerror}", OTHER_RUNS
        )


def unsynced_runs(runs: Iterable[Path]) -> list[Path]:
    """Offline runs of wandb's that were not uploaded: what they staged is nowhere else."""
    own = Path(os.environ.get("WANDB_DIR") or ".")
    folders = [own / "wandb", own / ".wandb", *(folder for folder, _, _ in _folders(runs) if folder.name == "wandb")]
    files = (file for folder in folders for file in sorted(folder.glob("offline-run-*/*.wandb")))
    return [file.parent for file in files if not file.with_name(f"{file.name}.synced").exists()]
