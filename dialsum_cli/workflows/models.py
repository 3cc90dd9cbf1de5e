"""`dialsum models`: the catalogue."""

from dialsum_cli import registry
from dialsum_cli.reporter import QuietReporter, Reporter
from dialsum_cli.results import CatalogueRow, ModelsResult
from dialsum_cli.settings import ModelsSettings


def list_models(settings: ModelsSettings, reporter: Reporter | None = None) -> ModelsResult:
    """The catalogue, or one model of it.

    Raises:
        UnknownModelError: there is no model of that name.
    """
    reporter = reporter or QuietReporter()
    specs = [registry.resolve(settings.name)] if settings.name else registry.CATALOGUE.values()
    return ModelsResult(
        models=[
            CatalogueRow(
                name=spec.name,
                repository="bundled" if spec.bundled else spec.source,
                kind=spec.kind or "unknown",
                parameters=spec.parameters,
                layers=spec.layers,
                licence=spec.licence,
                note=spec.note,
            )
            for spec in specs
        ]
    )
