"""`dialsum cache-clean`: give back the disk that caches take, and lose nothing that anybody needs."""

from collections.abc import Iterable

from dialsum_cli.caches.execute import execute
from dialsum_cli.caches.plan import Decision, Wishes, make_plan
from dialsum_cli.errors import RequestError, gigabytes
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import CacheCleanResult, CachedModel
from dialsum_cli.settings import CacheCleanSettings, parse_bytes, parse_seconds


def cache_clean(settings: CacheCleanSettings, reporter: Reporter = QUIET) -> CacheCleanResult:
    """Plan, show, confirm, delete.

    Raises:
        UnknownModelError: `keep` names something that is neither in a cache, nor a catalogue name, nor an id.
        RequestError: a folder that is no cache; a name to keep that can't be meant; a run whose base can't be read;
            `runs` names no folder; or the terminal's reporter finds nobody to confirm.
    """
    missing = [folder for folder in settings.runs if not folder.is_dir()]
    if missing and "runs" in settings.model_fields_set:
        raise RequestError(
            f"--runs: there is no folder '{missing[0]}'", "check the path: models that its runs need would be deleted"
        )
    plan = make_plan(
        Wishes(
            caches=settings.caches,
            keep=settings.keep,
            unused_for=None if settings.older_than is None else parse_seconds(settings.older_than),
            max_size=None if settings.max_size is None else parse_bytes(settings.max_size),
            runs=settings.runs,
        )
    )
    for folder in missing:
        reporter.note(f"there is no folder '{folder}' here: no model stays as the base of a run; give --runs")
    for name in settings.include:
        if name not in settings.caches:
            reporter.note(f"--include {name}: --only leaves it out")
    for name in plan.absent:
        reporter.note(f"--keep: '{name}' is not in the cache: nothing of it to keep")
    if plan.excess:
        reporter.warn(f"what has to stay takes {gigabytes(plan.excess)} more than --max-size {settings.max_size}")
    planned = CacheCleanResult(
        freed_bytes=plan.freed_bytes, deleted=_rows(plan.deleted), kept=_rows(plan.kept), dry_run=True
    )
    if settings.dry_run or not plan.deleted:
        return planned.model_copy(update={"dry_run": settings.dry_run})
    if not settings.yes:
        reporter.preview(planned)
        if not reporter.confirm(f"Delete {_counted(plan.deleted)}?", "--yes"):
            spared = [row.model_copy(update={"reason": "not confirmed"}) for row in planned.deleted]
            return CacheCleanResult(freed_bytes=0, deleted=[], kept=planned.kept + spared, dry_run=False)
    done = execute(plan, reporter.note)
    for decision in done.failed:
        reporter.warn(f"{decision.item.name}: {decision.reason}")
    return CacheCleanResult(
        freed_bytes=done.freed_bytes,
        deleted=_rows(done.deleted),
        kept=planned.kept + [row.model_copy(update={"undeletable": True}) for row in _rows(done.failed)],
        dry_run=False,
    )


def _rows(decisions: Iterable[Decision]) -> list[CachedModel]:
    rows = [CachedModel(cache=each.item.cache, name=each.item.name, bytes=each.bytes, reason=each.reason)
            for each in decisions]  # fmt: skip
    return sorted(rows, key=lambda row: (-row.bytes, row.name))


def _counted(decisions: Iterable[Decision]) -> str:
    """`4 models and 1 other entry`."""
    are_models = [decision.item.cache == "hub" for decision in decisions]
    models, others = sum(are_models), len(are_models) - sum(are_models)
    other = "other " if models else ""
    counts = ((models, "model", "models"), (others, f"{other}entry", f"{other}entries"))
    return " and ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
