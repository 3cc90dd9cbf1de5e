"""`dialsum cache-clean`: delete downloaded models but those to keep."""

from dataclasses import replace
from difflib import get_close_matches

from dialsum_cli import registry
from dialsum_cli.caches import CachedItem, Plan, execute, plan_hub
from dialsum_cli.errors import RequestError
from dialsum_cli.reporter import QuietReporter, Reporter
from dialsum_cli.results import CacheCleanResult, CachedModel
from dialsum_cli.settings import CacheCleanSettings


def cache_clean(settings: CacheCleanSettings, reporter: Reporter | None = None) -> CacheCleanResult:
    """Plan, show, confirm, delete.

    Raises:
        UnknownModelError: `keep` names something that is neither a catalogue name nor a Hugging Face id.
        RequestError: `keep` names what is in no cache; or the terminal's reporter finds nobody to confirm.
    """
    reporter = reporter or QuietReporter()
    for name in settings.keep:
        spec = registry.resolve(name)
        if spec.bundled or spec.kind == "baseline":
            raise RequestError(f"--keep: '{name}' ships with dialsum, and is in no cache", "leave it out")
    plan = plan_hub({registry.resolve(name).source for name in settings.keep})
    for name in plan.absent:
        near = get_close_matches(name, [item.name for item in plan.deleted], n=1, cutoff=0.8)
        if near:
            raise RequestError(f"--keep: '{name}' is not in the cache", f"did you mean '{near[0]}'?")
        reporter.note(f"--keep: '{name}' is not in the cache: nothing of it to keep")
    if settings.dry_run or not plan.deleted:
        return _result(plan, freed=plan.freed_bytes, dry_run=settings.dry_run)
    if not settings.yes:
        reporter.preview(_result(plan, freed=plan.freed_bytes, dry_run=True))
        if not reporter.confirm(f"Delete {len(plan.deleted)} models?", "--yes"):
            spared = (replace(item, reason="not confirmed") for item in plan.deleted)
            return _result(Plan((), (*plan.kept, *spared)), freed=0, dry_run=False)
    done = execute(plan)
    if stayed := [item.name for item in done.kept if item not in plan.kept]:
        reporter.warn(f"could not be deleted, at least in part: {', '.join(stayed)}; check the permissions")
    return _result(done, freed=done.freed_bytes, dry_run=False)


def _result(plan: Plan, *, freed: int, dry_run: bool) -> CacheCleanResult:
    return CacheCleanResult(
        freed_bytes=freed,
        deleted=[_cached(item) for item in plan.deleted],
        kept=[_cached(item) for item in plan.kept],
        dry_run=dry_run,
    )


def _cached(item: CachedItem) -> CachedModel:
    return CachedModel(name=item.name, bytes=item.bytes, reason=item.reason)
