"""Caches on disk: scan, plan, delete."""

from collections.abc import Collection
from dataclasses import dataclass, replace

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
    absent: tuple[str, ...] = ()  # named to keep, but not in the cache

    @property
    def freed_bytes(self) -> int:
        """What the deletion frees."""
        return sum(item.bytes for item in self.deleted)


def plan_hub(keep: Collection[str]) -> Plan:
    """Plan to delete every model in the hub's cache but those to keep: exact ids, so no sibling is caught by a prefix.

    Data sets and spaces stay.
    """
    deleted, kept = [], []
    repos = sorted(_scan().repos, key=lambda repo: (-repo.size_on_disk, repo.repo_id))
    for repo in repos:
        if repo.repo_type != "model":
            kept.append(_item(repo, f"a {repo.repo_type}, not a model"))
        elif repo.repo_id in keep:
            kept.append(_item(repo, "named by --keep"))
        else:
            deleted.append(_item(repo, "not named by --keep"))
    present = {repo.repo_id for repo in repos}
    return Plan(tuple(deleted), tuple(kept), tuple(sorted(set(keep) - present)))


def execute(plan: Plan) -> Plan:
    """Delete what the plan names, repository by repository, through the hub's own strategy; returns what came of it.

    The strategy logs what it can't delete and goes on, so the cache is looked at again: what is left stays in the plan
    as kept, with that reason.
    """
    doomed = {item.name for item in plan.deleted}
    cache = _scan()
    for repo in cache.repos:
        if repo.repo_type == "model" and repo.repo_id in doomed:
            # Alone: the strategy looks a commit up in all repositories, and mirrors share commits.
            alone = replace(cache, repos=frozenset({repo}))
            alone.delete_revisions(*(revision.commit_hash for revision in repo.revisions)).execute()
    left = {repo.repo_path for repo in cache.repos if repo.repo_id in doomed and repo.repo_path.exists()}
    names = {repo.repo_id for repo in cache.repos if repo.repo_path in left and repo.repo_type == "model"}
    gone = tuple(item for item in plan.deleted if item.name not in names)
    stayed = tuple(replace(item, reason="could not be deleted") for item in plan.deleted if item.name in names)
    return replace(plan, deleted=gone, kept=plan.kept + stayed)


def _scan() -> HFCacheInfo:
    try:
        return scan_cache_dir()
    except CacheNotFound:  # nothing was ever downloaded: an empty cache
        return HFCacheInfo(size_on_disk=0, repos=frozenset(), incomplete_files=frozenset(), warnings=[])


def _item(repo: CachedRepoInfo, reason: str) -> CachedItem:
    return CachedItem(repo.repo_id, repo.size_on_disk, reason)
