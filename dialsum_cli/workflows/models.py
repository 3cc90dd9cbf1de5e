"""`dialsum models`: the catalogue."""

from dataclasses import asdict

from dialsum_cli import registry
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import CatalogueRow, ModelsResult
from dialsum_cli.settings import ModelsSettings


def list_models(settings: ModelsSettings, reporter: Reporter = QUIET) -> ModelsResult:
    """The catalogue, or one model of it.

    Raises:
        UnknownModelError: there is no model of that name.
    """
    specs = [registry.resolve(settings.name)] if settings.name else registry.CATALOGUE.values()
    return ModelsResult(
        models=[
            CatalogueRow(
                name=spec.name,
                nickname=spec.nickname,
                repository="bundled" if spec.bundled else spec.source,
                revision=spec.revision,
                kind=spec.kind or "unknown",
                family=spec.family,
                parameters=None if spec.parameters is None else round(spec.parameters * 1e9),
                layers=spec.layers,
                dtype=spec.dtype if spec.source else None,
                licence=spec.licence,
                gated=spec.gated if spec.name in registry.CATALOGUE else None,
                note=spec.note,
                recipe=asdict(spec.recipe) if spec.recipe else None,
            )
            for spec in specs
        ]
    )
