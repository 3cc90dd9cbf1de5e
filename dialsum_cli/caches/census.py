"""What a file or folder takes on disk: allocated blocks, each inode once, folders excluded."""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 512  # bytes of a unit of st_blocks, whatever the file system's own blocks are (stat(2))

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Census:
    """What was found.

    Attributes:
        own: bytes of files that have no other name.
        shared: bytes, names in all, and names found here, of each file that has several.
        files: how many names there are.
        accessed, modified: the latest times of regular files, in seconds since 1970.
        trouble: why it can't be deleted whole; may be empty.
    """

    own: int = 0
    shared: Mapping[Inode, tuple[int, int, int]] = field(default_factory=dict)
    files: int = 0
    accessed: float = 0.0
    modified: float = 0.0
    trouble: str = ""

    @property
    def bytes(self) -> int:
        """What it takes, whoever else has a share in it."""
        return self.own + sum(size for size, _, _ in self.shared.values())

    @property
    def freed(self) -> int:
        """What deleting it alone frees: a file goes with its last name."""
        return self.own + sum(size for size, names, here in self.shared.values() if names == here)

    @property
    def used(self) -> float:
        """When it was last used, in seconds since 1970."""
        return max(self.accessed, self.modified)


def take(path: Path) -> Census:
    """Walk a file or folder without following a link or entering another file system."""
    own, files, accessed, modified, trouble = 0, 0, 0.0, 0.0, ""
    shared: dict[Inode, tuple[int, int, int]] = {}
    first = os.lstat(path)
    folders: list[str] = []

    def count(name: str, state: os.stat_result) -> None:
        nonlocal own, files, accessed, modified, trouble
        if stat.S_ISDIR(state.st_mode):
            if state.st_dev != first.st_dev:
                trouble = trouble or f"another file system is mounted on '{name}'"
            else:
                folders.append(name)
            return
        files += 1
        size = state.st_blocks * BLOCK
        if state.st_nlink == 1:
            own += size
        else:
            inode = (state.st_dev, state.st_ino)
            shared[inode] = (size, state.st_nlink, shared.get(inode, (0, 0, 0))[2] + 1)
        if stat.S_ISREG(state.st_mode):  # reading a link counts as access to it: our own reading as well
            accessed = max(accessed, state.st_atime)
            modified = max(modified, state.st_mtime)

    count(os.fspath(path), first)
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    count(entry.path, entry.stat(follow_symlinks=False))
            if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
                trouble = trouble or f"you may not delete from '{folder}'"
        except OSError as error:
            trouble = trouble or f"'{folder}' can't be read: {error.strerror}"
    return Census(own, shared, files, accessed, modified, trouble)


class Ledger:
    """Adds up what is freed while one thing after the other goes."""

    def __init__(self) -> None:
        self._left: dict[Inode, int] = {}  # names that a file still has

    def delete(self, census: Census) -> int:
        """Count a thing as gone; returns the bytes that go with it, those of which it had the last name included."""
        freed = census.own
        for inode, (size, names, here) in census.shared.items():
            self._left[inode] = self._left.get(inode, names) - here
            freed += size if self._left[inode] <= 0 else 0
        return freed


def total(censuses: Iterable[Census]) -> int:
    """What several things take together."""
    shared: dict[Inode, int] = {}
    own = 0
    for census in censuses:
        own += census.own
        shared.update((inode, size) for inode, (size, _, _) in census.shared.items())
    return own + sum(shared.values())
