"""Caches on disk: scan, plan, delete."""

from collections.abc import Collection
from dataclasses import dataclass

from huggingface_hub import CachedRepoInfo, HFCacheInfo, scan_cache_dir
from huggingface_hub.errors import CacheNotFound


@dataclass(frozen=True, slots=True)
class CachedItem:
    """One repository in the hub's cache; `bytes` as its blobs take on disk, `reason` why it goes or stays."""

    name: str
    bytes: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """What will be deleted and what will stay; making it deletes nothing."""

    deleted: tuple[CachedItem, ...]
    kept: tuple[CachedItem, ...]
    revisions: tuple[str, ...]

    @property
    def freed_bytes(self) -> int:
        """What the deletion frees."""
        return sum(item.bytes for item in self.deleted)


def plan_hub(keep: Collection[str]) -> Plan:
    """Plan to delete every model in the hub's cache but those to keep: exact ids, so no sibling is caught by a prefix.

    Data sets and spaces stay.
    """
    deleted, kept, revisions = [], [], []
    for repo in sorted(_scan().repos, key=lambda repo: (-repo.size_on_disk, repo.repo_id)):
        if repo.repo_type != "model":
            kept.append(_item(repo, f"a {repo.repo_type}, not a model"))
        elif repo.repo_id in keep:
            kept.append(_item(repo, "named by --keep"))
        else:
            deleted.append(_item(repo, "not named by --keep"))
            revisions += [revision.commit_hash for revision in repo.revisions]
    return Plan(tuple(deleted), tuple(kept), tuple(revisions))


def execute(plan: Plan) -> None:
    """Delete what the plan names, through the hub's own strategy."""
    _scan().delete_revisions(*plan.revisions).execute()


def _scan() -> HFCacheInfo:
    try:
        return scan_cache_dir()
    except CacheNotFound:  # nothing was ever downloaded: an empty cache
        return HFCacheInfo(size_on_disk=0, repos=frozenset(), incomplete_files=frozenset(), warnings=[])


def _item(repo: CachedRepoInfo, reason: str) -> CachedItem:
    return CachedItem(repo.repo_id, repo.size_on_disk, reason)
