"""`dialsum cache-clean`: delete downloaded models but those to keep."""

from dialsum_cli import registry
from dialsum_cli.caches import CachedItem, Plan, execute, plan_hub
from dialsum_cli.results import CacheCleanResult, CachedModel, QuietReporter, Reporter
from dialsum_cli.settings import CacheCleanSettings


def cache_clean(settings: CacheCleanSettings, reporter: Reporter | None = None) -> CacheCleanResult:
    """Plan, show, confirm, delete.

    Raises:
        UnknownModelError: `keep` names something that is neither a catalogue name nor a Hugging Face id.
        RequestError: there is nobody to confirm, and no `yes`.
    """
    reporter = reporter or QuietReporter()
    plan = plan_hub({registry.resolve(name).source for name in settings.keep})
    if settings.dry_run or not plan.deleted:
        return _result(plan, freed=plan.freed_bytes, dry_run=settings.dry_run)
    if not settings.yes:
        reporter.preview(_result(plan, freed=plan.freed_bytes, dry_run=True))
        if not reporter.confirm(f"Delete {len(plan.deleted)} models?", "--yes"):
            return _result(Plan((), (*plan.kept, *plan.deleted), ()), freed=0, dry_run=False)
    execute(plan)
    return _result(plan, freed=plan.freed_bytes, dry_run=False)


def _result(plan: Plan, *, freed: int, dry_run: bool) -> CacheCleanResult:
    return CacheCleanResult(
        freed_bytes=freed,
        deleted=[_cached(item) for item in plan.deleted],
        kept=[_cached(item) for item in plan.kept],
        dry_run=dry_run,
    )


def _cached(item: CachedItem) -> CachedModel:
    return CachedModel(name=item.name, bytes=item.bytes, reason=item.reason)
