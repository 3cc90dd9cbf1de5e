"""What `dialsum cache-clean` and `dialsum models` return."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from dialsum_cli.results.base import Result


class CachedModel(Result):
    """One thing in a cache.

    Attributes:
        cache: which: `hub` holds models, `hub-data` the hub's data sets, and so on.
        bytes: allocated on disk: those that its deletion frees, or that it takes where it stays.
        reason: why it goes or stays.
        undeletable: whether it stays only because it could not be deleted.
    """

    cache: str
    name: str
    bytes: int
    reason: str
    undeletable: bool = False


class CacheCleanResult(Result):
    """What was deleted, or would be; `freed_bytes` as the file system counts."""

    freed_bytes: int
    deleted: list[CachedModel]
    kept: list[CachedModel]
    dry_run: bool

    @property
    def failed(self) -> bool:
        """Whether nothing could be deleted that was to go."""
        return not self.deleted and any(row.undeletable for row in self.kept)

    def records(self) -> Iterable[BaseModel]:
        """One row per thing."""
        return [*self.deleted, *self.kept]


class CatalogueRow(Result):
    """One model of the catalogue; what it doesn't know is None.

    Attributes:
        nickname: as experiment tracking shows it.
        layers: decoder layers.
        dtype: the number format in which it was trained.
        gated: whether its owner has to grant access.
        recipe: how it is fine-tuned unless options say otherwise.
    """

    name: str
    nickname: str
    repository: str
    revision: str | None
    kind: str
    family: str
    parameters: int | None
    layers: int | None
    dtype: str | None
    licence: str
    gated: bool | None
    note: str
    recipe: dict[str, Any] | None


class ModelsResult(Result):
    """The catalogue."""

    table = "models"

    models: list[CatalogueRow]
