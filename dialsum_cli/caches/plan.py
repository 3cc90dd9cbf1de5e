"""What goes, what stays, and why."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from time import time

from dialsum_cli import registry
from dialsum_cli.caches.census import Ledger, total
from dialsum_cli.caches.guards import Guard, bases_of_adapters, bases_of_runs, guards, unsynced_runs
from dialsum_cli.caches.roots import locate
from dialsum_cli.caches.scan import Item, scan, shares
from dialsum_cli.errors import RequestError, UnknownModelError


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of an item: the bytes that its deletion frees, or that it takes where it stays."""

    item: Item
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be deleted, in this order, and what will stay; making it deletes nothing.

    Attributes:
        absent: what was named to keep, but is in no cache.
        excess: bytes by which what stays is larger than it should be, because it has to stay.
    """

    deleted: tuple[Decision, ...] = ()
    kept: tuple[Decision, ...] = ()
    absent: tuple[str, ...] = ()
    excess: int = 0

    @property
    def freed_bytes(self) -> int:
        """What the deletion frees."""
        return sum(decision.bytes for decision in self.deleted)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for; `unused_for` in seconds, `max_size` in bytes."""

    caches: Collection[str]
    keep: Sequence[str] = ()
    unused_for: float | None = None
    max_size: int | None = None
    runs: Sequence[Path] = ()


def make_plan(wishes: Wishes) -> Plan:
    """Look at the caches, and decide.

    Raises:
        RequestError: a folder that is no cache; a name to keep that can't be meant; a run that can't be read.
    """
    roots = locate(tuple(wishes.caches), wishes.runs)
    items = scan(roots, tuple(wishes.caches))
    reasons, absent = _named(items, wishes.keep)
    _guard(items, reasons, guards((root.path for root in roots), wishes.runs))
    for item in items:
        if reason := _must_stay(item, wishes):
            reasons.setdefault(item.path, reason)
    _protect(items, reasons, bases_of_runs(wishes.runs), "base of the run '{}'")
    may_stay = wishes.unused_for is not None or wishes.max_size is not None  # whatever nothing speaks for
    adapters = [(item, base) for item in items if item.cache == "hub" and (may_stay or item.path in reasons)
                for base in sorted(bases_of_adapters(item.path))]  # fmt: skip
    for adapter, base in adapters:
        if adapter.path in reasons:
            _protect(items, reasons, {base: adapter.name}, "base of '{}', which stays")
    items = [replace(item, used=_used(item, adapters)) for item in items]
    staged = [item for item in items if item.cache == "wandb-staging"]
    if staged and (unsynced := unsynced_runs(wishes.runs)):
        for item in staged:
            reasons.setdefault(item.path, f"'{unsynced[0]}' is not uploaded yet: `wandb sync` does that")
    return decide(items, reasons, wishes, absent)


def decide(items: Sequence[Item], reasons: Mapping[Path, str], wishes: Wishes, absent: Sequence[str] = ()) -> Plan:
    """The plan: what nothing speaks for goes, least recently used first as far as the size matters."""
    paths = {item.path for item in items}
    left = total(item.census for item in items if item.inside not in paths)  # a part is counted with its whole
    ledger, now = Ledger(), time()
    deleted: dict[Path, Decision] = {}
    kept = []

    def order(item: Item) -> tuple[int, float]:  # what is of no use first, parts of what may go itself last
        part = item.inside is not None and item.inside not in reasons
        return (2 if part else 0 if item.cache == "leftovers" else 1), item.used

    for item in sorted(items, key=order):
        if item.inside in deleted:
            continue  # goes with what it is a part of
        if reason := reasons.get(item.path):
            kept.append(Decision(item, item.census.bytes, reason))
        elif wishes.unused_for is not None and now - item.used < wishes.unused_for:
            kept.append(Decision(item, item.census.bytes, f"used {_ago(now - item.used)}"))
        elif wishes.max_size is not None and left <= wishes.max_size:
            kept.append(Decision(item, item.census.bytes, "there is room for it"))
        else:
            freed = ledger.delete(item.census)
            left -= freed
            deleted[item.path] = Decision(item, freed, item.why or "nothing asks for it to stay")
    excess = max(left - wishes.max_size, 0) if wishes.max_size is not None else 0
    kept.sort(key=lambda decision: (-decision.bytes, decision.item.name))
    return Plan(tuple(deleted.values()), tuple(kept), tuple(absent), excess)


def _ago(seconds: float) -> str:
    return f"{seconds / 86_400:.0f} days ago" if seconds >= 2 * 86_400 else f"{max(seconds, 0) / 3600:.0f} hours ago"


def _must_stay(item: Item, wishes: Wishes) -> str:
    if item.stays:
        return item.why
    if item.cache == "hub-data" and "hub-data" not in wishes.caches:
        return f"{item.why}: --include hub-data"
    return ""


def _named(items: Sequence[Item], keep: Sequence[str]) -> tuple[dict[Path, str], list[str]]:
    """The items that `keep` names, and the names that are in no cache."""
    reasons, absent = {}, []
    for name in keep:
        found = [item for item in items if _is_meant(item, name)]
        if not found:
            absent.append(_checked(name, items))
        for item in found:
            reasons[item.path] = f"--keep {name}" if _is_glob(name) else "named by --keep"
    return reasons, absent


def _is_meant(item: Item, name: str) -> bool:
    """Exactly, unless the name is a glob: `a/model` is not `a/model-large`; parts of a repository go their own way."""
    if item.inside or not (item.cache in ("hub", "hub-data", "datasets") or item.why.startswith("broken")):
        return False
    if _is_glob(name):
        return fnmatchcase(item.name, name)
    known = registry.CATALOGUE.get(name)
    return item.name in (name, known.source if known else name)


def _is_glob(name: str) -> bool:
    return any(letter in name for letter in "*?[")


def _checked(name: str, items: Sequence[Item]) -> str:
    """A name that no item has, as the id that it stands for.

    Raises:
        UnknownModelError: it is neither in the catalogue nor a Hugging Face id.
        RequestError: it can't have been meant: a glob that fits nothing, a slip of the pen, a model that ships with us.
    """
    names = [item.name for item in items]
    if _is_glob(name):
        raise RequestError(
            f"--keep: '{name}' matches nothing in the caches", "`dialsum cache-clean --dry-run` lists them"
        )
    try:
        spec = registry.resolve(name)
    except UnknownModelError:
        if near := _near(name, names):
            raise RequestError(f"--keep: '{name}' is not in the cache", f"did you mean '{near}'?") from None
        raise
    if spec.bundled or spec.kind == "baseline":
        raise RequestError(f"--keep: '{name}' ships with dialsum, and is in no cache", "leave it out")
    if spec.name not in registry.CATALOGUE and (near := _near(name, names)):
        raise RequestError(f"--keep: '{name}' is not in the cache", f"did you mean '{near}'?")
    return spec.source


def _near(name: str, names: Sequence[str]) -> str:
    folded = {each.lower(): each for each in names}  # the hub takes any case, the cache doesn't
    return next((folded[near] for near in get_close_matches(name.lower(), folded, n=1, cutoff=0.8)), "")


def _protect(items: Sequence[Item], reasons: dict[Path, str], bases: Mapping[str, str], because: str) -> None:
    """Keep the models that something is based on, which names them by their id or by a path in the cache."""
    for item in items:
        for base, who in bases.items():
            if _is_called(base, item):
                reasons.setdefault(item.path, because.format(who))


def _is_called(base: str, item: Item) -> bool:
    return item.name == base or Path(os.path.realpath(base)).is_relative_to(item.path)


def _used(item: Item, adapters: Sequence[tuple[Item, str]]) -> float:
    """When an item was last used: as the base of an adapter, with that, and a moment later, so that it goes later."""
    users = [adapter.used + 0.001 for adapter, base in adapters if _is_called(base, item)]
    return max([item.used, *users])


def _guard(items: Sequence[Item], reasons: dict[Path, str], found: Sequence[Guard]) -> None:
    """Keep what holds a guarded path, or shares a guarded file."""
    paths, sharing = {item.path for item in items}, [item for item in items if item.census.shared]
    for guarded, reason in found:
        for path in (guarded, *guarded.parents):
            if path in paths:
                reasons.setdefault(path, reason)
        for item in sharing:
            if shares(item, guarded):
                reasons.setdefault(item.path, reason)
