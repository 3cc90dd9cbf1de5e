"""What stays without being asked for: bases of runs, files that are open, tokens, what was not uploaded yet."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dialsum_cli.caches.roots import TOKENS, all_paths
from dialsum_cli.errors import RequestError

Guard = tuple[Path, str]  # what is at or below this path stays, and why


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
    """The models, ids or paths, that run folders are based on, with the run.

    Raises:
        RequestError: what a run is based on can't be read: it might be anything.
    """
    bases = {}
    for folder in runs:
        for name in ("provenance.json", "configuration.json", "adapter_config.json"):
            for path in sorted(folder.glob(f"**/{name}")):
                if base := _base(path):
                    bases[base] = str(path.parent)
    return bases


def bases_of_adapters(repository: Path) -> set[str]:
    """The models that a cached repository's adapters are based on."""
    return {base for path in sorted(repository.glob("snapshots/*/adapter_config.json")) if (base := _base(path))}


def _base(path: Path) -> str | None:
    try:
        content = json.loads(path.read_bytes())
        base = content.get("base_model_name_or_path") or content.get("model")
    except (OSError, ValueError, AttributeError) as error:
        line = " ".join(str(error).split())
        raise RequestError(
            f"can't tell which model '{path}' is based on: {line}", "mend or remove that file, or name other --runs"
        ) from None
    return base if isinstance(base, str) else None


def unsynced_runs(runs: Iterable[Path]) -> list[Path]:
    """Offline runs of wandb's that were not uploaded: what they staged is nowhere else."""
    own = Path(os.environ.get("WANDB_DIR") or ".")
    folders = [own / "wandb", own / ".wandb", *(found for run in runs for found in run.glob("**/wandb"))]
    files = (file for folder in folders for file in sorted(folder.glob("offline-run-*/*.wandb")))
    return [file.parent for file in files if not file.with_name(f"{file.name}.synced").exists()]
