"""What a run downloads: whether the disk may take it, and how it is deleted again."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from dialsum_cli.caches.census import take, total
from dialsum_cli.caches.execute import Outcome, execute
from dialsum_cli.caches.guards import bases_of_adapters, bases_of_folder
from dialsum_cli.caches.plan import Decision, Plan
from dialsum_cli.caches.roots import Root, locate
from dialsum_cli.caches.scan import IGNORED, STORE, item_of
from dialsum_cli.errors import DialsumError, gigabytes, one_line
from dialsum_cli.reporter import Reporter
from dialsum_cli.runs import write_atomically
from dialsum_cli.settings import CACHES


@dataclass(frozen=True, slots=True)
class Before:
    """The hub's cache before a run: its repositories with all paths in them, and what their refs said."""

    paths: Mapping[str, frozenset[str]]
    refs: Mapping[Path, bytes]

    @classmethod
    def take(cls) -> "Before":
        """Note what is there now.

        Raises:
            RequestError: the hub's cache is no folder of its own.
        """
        root = _hub()
        if root is None:
            return cls({}, {})
        folders = [path for path in root.path.iterdir() if path.name not in (*IGNORED, STORE) and path.is_dir()]
        refs = {ref: ref.read_bytes() for folder in folders for ref in folder.glob("refs/**/*") if ref.is_file()}
        return cls({folder.name: frozenset(_walk(folder)) for folder in folders}, refs)


def delete_downloads(repository: str, before: Before, note: Callable[[str], None]) -> Outcome:
    """Delete what has come into the hub's cache since `before` of a model and of the base of an adapter.

    A repository that was there keeps what it had, byte for byte; files that another process has open stay.

    Args:
        repository: Hugging Face id, or a folder: of an adapter in one, the base was downloaded. A baseline is neither.
        before: what was there when the run began.
        note: is told where another clean-up has to be waited for.

    Raises:
        RequestError: which base an adapter has can't be read.
    """
    root = _hub()
    if root is None:
        return Outcome((), (), 0)
    if os.path.isdir(repository):
        folders = [_folder(root, base) for base in bases_of_folder(Path(repository))]
    elif folder := _folder(root, repository):
        folders = [folder, *(_folder(root, base) for base in bases_of_adapters(folder))]
    else:
        folders = []
    there = [folder for folder in dict.fromkeys(folders) if folder and folder.is_dir()]
    # Shared blobs first: the hub finds a blob by the links that lead to it, and deletes those with it.
    outcomes = [_delete_fresh(root, there, repository, before, note, shared=shared) for shared in (True, False)]
    failed = {decision.item.path: decision for outcome in outcomes for decision in outcome.failed}  # perhaps twice
    return Outcome(
        tuple(decision for outcome in outcomes for decision in outcome.deleted),
        tuple(failed.values()),
        sum(outcome.freed_bytes for outcome in outcomes),
    )


def _delete_fresh(
    root: Root, folders: Sequence[Path], name: str, before: Before, note: Callable[[str], None], *, shared: bool
) -> Outcome:
    """Delete what is new in these repositories: the links to shared blobs alone, or all."""
    items = []
    for folder in folders:
        known = before.paths.get(folder.name)
        if known is None:
            items += [] if shared else [item_of(root, folder, "hub", name)]
            continue
        for ref in sorted(path for path in folder.glob("refs/**/*") if path in before.refs):
            if ref.read_bytes() != before.refs[ref]:  # it leads to a commit that goes
                write_atomically(ref, before.refs[ref], overwrite=True)
        there = {"", *known}
        fresh = [path for path in _walk(folder) if path not in there and os.path.dirname(path) in there]
        if shared:
            fresh = [path for path in fresh if path.startswith("blobs") and (folder / path).is_symlink()]
        # Refs first, then links, then what they lead to: a process that is killed leaves no loose end.
        fresh.sort(key=lambda path: (not path.startswith("refs"), path.startswith("blobs"), path))
        items += [item_of(root, folder / path, "hub", f"{name}: {path}") for path in fresh]
    doomed = (Decision(item, item.census.freed, "downloaded by this run") for item in items if not item.stays)
    return execute(Plan(tuple(doomed)), note)


def check_disk_limit(limit: int, missing: int, repository: str, runs: Path) -> None:
    """See that caches and runs will take no more than `limit` bytes once `missing` more are downloaded.

    Raises:
        DialsumError: they would; the remedy frees what is needed, as far as caches can.
    """
    if missing == 0:
        return
    caches = total(take(root.path) for root in locate(CACHES, ()))
    in_runs = take(runs).bytes if runs.exists() else 0
    if caches + in_runs + missing <= limit:
        return
    room = limit - in_runs - missing
    message = (
        f"{gigabytes(missing)} of {repository} to download, and caches ({gigabytes(caches)}) and runs "
        f"({gigabytes(in_runs)}) may take {gigabytes(limit)}"
    )
    if room < 0:
        raise DialsumError(message, f"raise --disk-limit, or delete runs in '{runs}'")
    size = f"{room // 10**8 / 10}GB" if room >= 10**9 else f"{room}B"
    usual = Path("runs")  # where the clean-up looks for runs unless it is told
    outside = not runs.resolve().is_relative_to(usual.resolve())
    given = [f" --runs {quote(str(each))}" for each in (usual, *([runs] if outside else [])) if each.is_dir()]
    raise DialsumError(message, f"`dialsum cache-clean --keep {quote(repository)} --max-size {size}{''.join(given)}`")


def _hub() -> Root | None:
    return next(iter(locate(("hub",), ())), None)


def _folder(root: Root, repository: str) -> Path | None:
    """Where the hub's cache has a repository; None of what is no repository."""
    return None if os.path.isabs(repository) else root.path / f"models--{repository.replace('/', '--')}"


def _walk(folder: Path, below: str = "") -> Iterator[str]:
    """All paths in a folder, relative to it; no link is followed."""
    with os.scandir(folder / below) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = os.path.join(below, entry.name)
            yield path
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder, path)


def forget_downloads(name: str, source: str, before: Before | None, reporter: Reporter) -> None:
    """`delete_downloads` where they were asked to be deleted; what stays is a warning, for the work is done."""
    if before is None:
        return
    try:
        done = delete_downloads(source, before, reporter.note)
        problems = [f"{decision.item.name}: {decision.reason}" for decision in done.failed]
    except (OSError, DialsumError) as error:
        problems = [f"{name}: what it downloaded can't be deleted: {one_line(error)}"]
    for problem in problems:
        reporter.warn(problem)
