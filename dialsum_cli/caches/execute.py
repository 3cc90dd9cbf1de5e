"""Deleting what a plan names, and nothing else: in one step out of the cache, then out of existence."""

import fcntl
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import monotonic

from huggingface_hub import HFCacheInfo, scan_cache_dir

from dialsum_cli.caches.census import take
from dialsum_cli.caches.guards import Guard, open_files
from dialsum_cli.caches.plan import Decision, Plan
from dialsum_cli.caches.roots import Root
from dialsum_cli.caches.scan import STORE, Item, shares, trash

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
SECOND = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plan; bytes are those that the file system got back."""

    deleted: tuple[Decision, ...]
    failed: tuple[Decision, ...]
    freed_bytes: int


class _Refused(Exception):  # noqa: N818 - a reason, not a fault
    """Why something was left where it is."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A root's folders, held open: what is renamed in the meantime can't lead anywhere else."""

    root: int
    trash: int


def execute(plan: Plan, note: Callable[[str], None]) -> Outcome:
    """Delete what the plan names, one by one; what has changed since, or can't be deleted, is told and left.

    Each thing is first moved to a folder of ours, in which no tool looks: a process that is killed leaves every cache
    whole, and the next clean-up finds what it had moved. Clean-ups of one cache wait for each other.
    """
    deleted, failed, freed = [], [], 0
    by_root = sorted(plan.deleted, key=lambda decision: decision.item.root.path)  # stable: the plan's order stays
    for root, group in groupby(by_root, key=lambda decision: decision.item.root):
        decisions = list(group)
        try:
            with _opened(root, note) as opened:
                in_use = _InUse(root.path)
                results = [_attempt(decision.item, opened, in_use) for decision in decisions]
        except (_Refused, OSError) as error:  # of the root: nothing in it can be deleted
            results = [(0, _reason(error))] * len(decisions)
        for decision, (count, problem) in zip(decisions, results, strict=True):
            freed += count
            if problem:
                failed.append(Decision(decision.item, decision.item.census.bytes, f"not deleted: {problem}"))
            else:
                deleted.append(Decision(decision.item, count, decision.reason))
    return Outcome(tuple(deleted), tuple(failed), freed)


class _InUse:
    """The files of a root that other processes have open, as of the last second: looking takes a while."""

    def __init__(self, root: Path) -> None:
        self._root, self._found, self._looked = root, list[Guard](), -SECOND

    def now(self) -> list[Guard]:
        if monotonic() - self._looked >= SECOND:
            self._found = list(open_files([self._root]))
            self._looked = monotonic()
        return self._found


def _attempt(item: Item, opened: _Open, in_use: _InUse) -> tuple[int, str]:
    """Delete an item; returns the bytes that this freed, and why it is not all gone."""
    try:
        for path, who in in_use.now():
            inside = path.is_relative_to(item.path) or (_is_blob(item) and path == item.path.resolve())
            if inside or (item.census.shared and shares(item, path)):
                raise _Refused(who)
        return _clear(item) if item.root.command else _delete(item, opened)
    except (_Refused, OSError, ValueError) as error:  # ValueError: a damaged repository beside it, scanned as well
        return 0, _reason(error)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


@contextmanager
def _opened(root: Root, note: Callable[[str], None]) -> Iterator[_Open]:
    """The root and its trash, which is locked until the context is left, and gone then if it is empty."""
    top = os.open(root.path, FOLDER)
    try:
        state = os.fstat(top)
        if (state.st_dev, state.st_ino) != root.identity:
            raise _Refused(f"'{root.path}' is another folder than when the plan was made")
        if root.command:
            yield _Open(top, -1)
            return
        *above, name = trash(root).relative_to(root.path).parts
        with _below(top, above, make=True) as holder:
            bin_ = _lock(root, holder, name, note)
            try:
                yield _Open(top, bin_)
            finally:
                with suppress(OSError):  # not empty: something in it can't be deleted
                    os.rmdir(name, dir_fd=holder)
                os.close(bin_)
    finally:
        os.close(top)


def _lock(root: Root, holder: int, name: str, note: Callable[[str], None]) -> int:
    told = False
    while True:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=holder)
        folder = os.open(name, FOLDER, dir_fd=holder)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                note(f"another clean-up is at work in '{root.path}': waiting for it")
            told = True
            fcntl.flock(folder, fcntl.LOCK_EX)
        if os.fstat(folder).st_nlink:
            return folder
        os.close(folder)  # the other one has removed it when it was done


@contextmanager
def _below(top: int, parts: list[str] | tuple[str, ...], *, make: bool = False) -> Iterator[int]:
    """A folder below an open one, no part of whose path is a link."""
    folder = os.dup(top)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=folder)
            inner = os.open(part, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _delete(item: Item, opened: _Open) -> tuple[int, str]:
    try:
        _check(item, os.lstat(item.path))
        before = take(item.path)
    except FileNotFoundError:  # somebody else has deleted it meanwhile
        return 0, ""
    if (before.files, before.modified) != (item.census.files, item.census.modified):
        raise _Refused("it has changed since the plan was made")
    if item.path.parent == trash(item.root):  # an earlier clean-up has moved it
        shared, slot = 0, item.path.name
    else:
        is_repository = item.cache in ("hub", "hub-data") and item.path.parent == item.root.path
        shared = _unshare(item) if is_repository or _is_blob(item) else 0
        if not os.path.lexists(item.path):
            return shared, ""  # a blob, and the links that led to it
        slot = _move(item, opened)
        if is_repository:
            _through_the_hub(trash(item.root) / slot)
    try:
        shutil.rmtree(slot, dir_fd=opened.trash)
    except OSError as error:
        return shared + before.freed - take(trash(item.root) / slot).freed, _reason(error)
    return shared + before.freed, ""


def _move(item: Item, opened: _Open) -> str:
    """Move an item to a folder of its own in the trash, and see that it is the one; returns that folder's name."""
    *above, name = item.path.relative_to(item.root.path).parts
    slot = secrets.token_hex(4)
    os.mkdir(slot, 0o700, dir_fd=opened.trash)
    try:
        with _below(opened.root, above) as holder, _below(opened.trash, [slot]) as target:
            os.rename(name, name, src_dir_fd=holder, dst_dir_fd=target)
            try:
                _check(item, os.lstat(name, dir_fd=target))
            except _Refused:  # swapped between the look and the move: what is there now goes back
                os.rename(name, name, src_dir_fd=target, dst_dir_fd=holder)
                raise
    except (_Refused, OSError):
        os.rmdir(slot, dir_fd=opened.trash)
        raise
    return slot


def _check(item: Item, state: os.stat_result) -> None:
    if (state.st_dev, state.st_ino) != item.identity:
        raise _Refused("it is another file than when the plan was made")


def _through_the_hub(moved: Path) -> None:
    """Let the hub's own strategy delete a repository, which is alone in its cache now: mirrors share commits."""
    cache = scan_cache_dir(moved)
    cache.delete_revisions(*(revision.commit_hash for repo in cache.repos for revision in repo.revisions)).execute()


def _unshare(item: Item) -> int:
    """Let the hub's own strategy delete the shared files to which only this repository, or blob, links.

    Returns:
        Their bytes.
    """
    store, blobs = item.root.path / STORE, item.path / "blobs"
    links = {path for path in ([item.path] if _is_blob(item) else blobs.glob("*")) if path.is_symlink()}
    if not links or not store.is_dir():
        return 0
    if not hasattr(HFCacheInfo, "delete_files"):
        raise _Refused("its files are shared, and only huggingface_hub 2.4 and newer can delete such")
    watched = [store, item.path.parents[1]] if _is_blob(item) else [store]
    before, cache = sum(take(each).freed for each in watched), scan_cache_dir(item.root.path)
    # A link in a snapshot may lead anywhere, and the strategy deletes what it leads to.
    files = {file for repo in cache.repos for revision in repo.revisions for file in revision.files
             if file.blob_path in links}  # fmt: skip
    cache.delete_files(*files).execute()
    return before - sum(take(each).freed for each in watched)


def _is_blob(item: Item) -> bool:
    """Whether it is one file of a hub's repository, under REPOSITORY/blobs."""
    return item.cache == "hub" and item.path.parent.name == "blobs" and item.path.parents[2] == item.root.path


def _clear(item: Item) -> tuple[int, str]:
    """Empty a cache by its tool's own command."""
    done = subprocess.run(item.root.command, capture_output=True, text=True, check=False)
    left = take(item.root.path).freed if item.root.path.exists() else 0
    problem = (done.stderr.strip().splitlines() or ["its command failed"])[-1] if done.returncode else ""
    return item.census.freed - left, problem
