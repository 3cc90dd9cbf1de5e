"""What is in the caches: each thing that can go on its own, with what it takes and when it was last used."""

import fcntl
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time

from huggingface_hub import CachedRepoInfo, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from dialsum_cli.caches.census import BLOCK, Census, take
from dialsum_cli.caches.roots import Root

TRASH = "dialsum-trash"  # what is being deleted: of the hub's cache in .locks, where scan_cache_dir doesn't look
REPOSITORY = re.compile(r"(model|dataset|space|kernel)s--(.+)", re.DOTALL)
STORE = "blobs"  # of the hub's cache, from huggingface_hub 2 on: files that several repositories share
IGNORED = {".locks", "CACHEDIR.TAG", ".DS_Store", "Thumbs.db", "desktop.ini"}  # by scan_cache_dir as well
HOUR = 3600

# What a tool makes in its cache's folder, by name; whatever else is there is somebody else's.
MADE = {
    "datasets": re.compile(r"downloads|.+\.lock"),
    "wandb": re.compile(r"obj|tmp"),  # wandb.sdk.artifacts.artifact_file_cache
    "xet": re.compile(r"logs|https?_\w*-[\w-]{16}"),  # hf_xet: 16 characters of its endpoint, 16 of the endpoint's hash
    "triton": re.compile(r"[A-Z2-7]{52}|[0-9a-f]{32}|[0-9a-f]{64}"),  # a key in base32; an older one in hex
    "inductor": re.compile(
        r"[a-z2-7]{2}|aoti_eager|aotautograd|autoheuristic|bisect|cache|dynamo|fxgraph|gcc|locks|memoizer_cache\.\w+|"
        r"precompiled_headers|tmp\w{8}(\.py)?|torch_cutlass|triton|unhashed_kernel_inputs"
    ),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a cache.

    Attributes:
        cache: which; the hub's are `hub` (models), `hub-data` and `leftovers`.
        name: as people know it, without control characters.
        path: below the root.
        identity: device and inode.
        used: when it was last used, in seconds since 1970.
        why: what is known of it that decides about it: why it stays, or why it is useless; may be empty.
        stays: whether it has to, whatever was asked for.
        inside: the item that it is a part of, if any.
    """

    cache: str
    name: str
    root: Root
    path: Path
    identity: tuple[int, int]
    census: Census
    used: float
    why: str = ""
    stays: bool = False
    inside: Path | None = None


def shares(item: Item, path: Path) -> bool:
    """Whether a path, wherever it is, is a file that an item shares with others."""
    with suppress(OSError):
        state = os.stat(path)
        return (state.st_dev, state.st_ino) in item.census.shared
    return False


def printable(text: str | Path) -> str:
    """Text in which control characters, and bytes that are no UTF-8, are escaped: one line on any terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text))


def trash(root: Root) -> Path:
    """Where things wait that are being deleted: on the same file system, so that they get there in one step."""
    return root.path / ".locks" / TRASH if root.cache == "hub" else root.path / f".{TRASH}"


def scan(roots: Sequence[Root], caches: Sequence[str]) -> list[Item]:
    """Everything in the caches that were asked for."""
    items = []
    for root in roots:
        found = _hub(root) if root.cache == "hub" else _entries(root)
        items += [item for item in found if item.cache in caches or (item.cache == "hub-data" and "hub" in caches)]
    return items


def item_of(root: Root, path: Path, cache: str, name: str | None = None, why: str = "") -> Item:
    """A file or folder below a root as an item; one that can't be deleted whole stays. A link is a file of its own."""
    state = os.lstat(path)
    census = take(path)
    shown = printable(path.relative_to(root.path) if name is None else name)
    trouble = printable(census.trouble)
    return Item(
        cache, shown, root, path, (state.st_dev, state.st_ino), census, census.used, trouble or why, bool(trouble)
    )


def _entries(root: Root) -> Iterator[Item]:
    """A folder's entries, one by one; of a tool that has its own command, the folder as one."""
    if root.command:
        yield item_of(root, root.path, root.cache, f"all that {root.cache} has cached")
        return
    for item in _present(lambda path: item_of(root, path, root.cache), root.path.iterdir()):
        if item.path == trash(root):
            continue
        if not item.stays and not _is_made_by(root.cache, item.path):
            item = replace(item, stays=True, why=f"not of {root.cache}'s making")
        if root.cache == "checkpoints":
            item = replace(item, name=printable(item.path))
            if not (root.path.parent / "result.json").is_file():
                item = replace(item, stays=True, why="its run is unfinished, and goes on from it")
        yield item
    yield from _trash(root)


def _is_made_by(cache: str, path: Path) -> bool:
    """Whether something in a cache's folder, which may be the user's as well, is what the cache's tool makes."""
    if cache not in MADE or (MADE[cache].fullmatch(path.name) and not path.is_symlink()):
        return True
    if cache != "datasets" or path.is_symlink():
        return False
    # NAME/CONFIGURATION/VERSION/HASH/dataset_info.json; `save_to_disk` writes such a file too, and a state.json.
    infos = [info for depth in ("*/*", "*/*/*") for info in path.glob(f"{depth}/dataset_info.json")]
    return bool(infos) and not any(path.glob("**/state.json"))


def _present(make: Callable[[Path], Item], paths: Iterable[Path]) -> Iterator[Item]:
    """An item of each path, those left out that another clean-up takes away meanwhile."""
    for path in sorted(paths):
        with suppress(FileNotFoundError):
            yield make(path)


def _trash(root: Root) -> Iterator[Item]:
    def left(path: Path) -> Item:
        name = next((inner.name for inner in path.iterdir()), path.name)
        cache = "leftovers" if root.cache == "hub" else root.cache
        return item_of(root, path, cache, name, "left by a clean-up that was interrupted")

    if trash(root).is_dir() and not trash(root).is_symlink():
        yield from _present(left, (path for path in trash(root).iterdir() if path.is_dir() and not path.is_symlink()))


def _hub(root: Root) -> Iterator[Item]:
    repositories = _repositories(root.path)
    store = root.path / STORE
    has_store = store.is_dir() and not store.is_symlink()
    paths = (path for path in root.path.iterdir() if path.name not in IGNORED and path != store)
    items = list(_present(lambda path: _repository(root, path, repositories), paths))
    links = {item.path: _store_links(item.path / "blobs", store) for item in items if has_store and not item.stays}
    names = Counter(blob for blobs in links.values() for blob in blobs)
    for item in items:
        parts = [] if item.stays else list(_incomplete(item))
        if not item.stays and any(map(_held, (root.path / ".locks" / item.path.name).glob("**/*.lock"))):
            item, parts = replace(item, stays=True, why="a download is under way"), []
        elif under_way := next((part for part in parts if part.stays), None):
            item = replace(item, stays=True, why=under_way.why)
        yield replace(item, census=_with_store(item.census, links.get(item.path, []), names))
        yield from parts
    if has_store:
        for blob in sorted(store.glob("*/*")):
            if re.fullmatch(r"[0-9a-f]{64}", blob.name) and blob not in names:
                orphan = item_of(root, blob, "leftovers", f"shared blob {blob.name[:12]}")
                yield replace(orphan, stays=True, why="no repository refers to it: `hf cache prune` deletes it")
    yield from _locks(root)
    yield from _trash(root)


def _repository(root: Root, path: Path, repositories: dict[str, CachedRepoInfo]) -> Item:
    known = repositories.get(path.name)
    found = REPOSITORY.fullmatch(path.name)
    if found is None:
        return replace(item_of(root, path, "hub"), stays=True, why="not of the hub's making")
    kind, name = found[1], found[2].replace("--", "/")
    item = item_of(root, path, "hub" if kind == "model" else "hub-data", name)
    if item.stays:
        return item
    if known is None:  # what scan_cache_dir warns about
        problem = _scan_alone(path)
        why = printable(f"broken: {problem}") if isinstance(problem, str) else "broken"
        return replace(item, cache="leftovers", used=item.census.modified, why=why)
    if path.is_symlink():
        return replace(item, stays=True, why="a link: what it leads to is not the cache's")
    # Of the blobs alone: scan_cache_dir reads the refs, and so "uses" them.
    used = max(known.last_accessed, known.last_modified)
    return replace(item, used=used, why="" if kind == "model" else f"a {kind}, not a model")


def _repositories(hub: Path) -> dict[str, CachedRepoInfo]:
    """What scan_cache_dir knows, by the names of the folders; where one folder makes it give up, one by one."""
    try:
        return {repo.repo_path.name: repo for repo in scan_cache_dir(hub).repos}
    except CacheNotFound:
        return {}
    except (OSError, ValueError):
        found = {path.name: _scan_alone(path) for path in hub.iterdir() if REPOSITORY.fullmatch(path.name)}
        return {name: repo for name, repo in found.items() if isinstance(repo, CachedRepoInfo)}


def _scan_alone(path: Path) -> CachedRepoInfo | str:
    """One repository as scan_cache_dir sees it, in a folder that holds nothing else; or what is wrong with it."""
    with TemporaryDirectory() as view:
        (Path(view) / path.name).symlink_to(path)
        try:
            cache = scan_cache_dir(view)
        except (OSError, ValueError) as error:
            return str(error)
        for repo in cache.repos:
            return repo
        return str(cache.warnings[0]).replace(f"{Path(view).resolve()}{os.sep}", "") if cache.warnings else "empty"


def _incomplete(item: Item) -> Iterator[Item]:
    """Downloads that broke off; a young one may be that of another machine, whose open files nobody tells us."""

    def part(path: Path) -> Item:
        found = item_of(item.root, path, "leftovers", f"{item.name}: {path.name}", "a download that broke off")
        if not found.stays and time() - found.census.modified < HOUR:
            found = replace(found, stays=True, why="perhaps still being downloaded")
        return replace(found, inside=item.path)

    yield from _present(part, item.path.glob("blobs/*.incomplete"))


def _locks(root: Root) -> Iterator[Item]:
    """Lock files of downloads that nobody holds."""
    locks = root.path / ".locks"
    if not locks.is_dir() or locks.is_symlink():
        return

    def unheld(folder: Path) -> Item:
        item = item_of(root, folder, "leftovers", f"{folder.name}: locks", "locks that nobody holds")
        held = any(_held(path) for path in folder.glob("**/*.lock"))
        return replace(item, stays=True, why="a download is under way") if held else item

    folders = (path for path in locks.iterdir() if REPOSITORY.fullmatch(path.name) and not path.is_symlink())
    yield from _present(unheld, folders)


def _held(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:  # not ours: perhaps held
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _store_links(blobs: Path, store: Path) -> list[Path]:
    """The shared files that a repository's blobs are links to."""
    if not blobs.is_dir():
        return []
    targets = []
    for entry in os.scandir(blobs):
        if entry.is_symlink():
            target = Path(os.path.abspath(blobs / os.readlink(entry.path)))
            if target.is_relative_to(store) and target.is_file():
                targets.append(target)
    return targets


def _with_store(census: Census, blobs: Sequence[Path], names: Counter[Path]) -> Census:
    """The census with the shared files that links lead to: such a file goes with its last link, as one with names."""
    if not blobs:
        return census
    shared = dict(census.shared)
    for blob, here in Counter(blobs).items():
        for path in (blob, blob.with_name(f"{blob.name}.refs")):  # the list of its links goes with it
            if path.is_file():
                state = path.stat()
                shared[state.st_dev, state.st_ino] = (state.st_blocks * BLOCK, names[blob], here)
    return replace(census, shared=shared)
