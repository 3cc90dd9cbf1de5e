"""Summarise Korean dialogues: screen, fine-tune, predict and score."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dialsum_cli.errors import DialsumError as DialsumError
    from dialsum_cli.errors import RequestError as RequestError
    from dialsum_cli.settings import CacheCleanSettings as CacheCleanSettings
    from dialsum_cli.settings import CheckSettings as CheckSettings
    from dialsum_cli.settings import EnsembleSettings as EnsembleSettings
    from dialsum_cli.settings import FinetuneSettings as FinetuneSettings
    from dialsum_cli.settings import ModelsSettings as ModelsSettings
    from dialsum_cli.settings import PredictSettings as PredictSettings
    from dialsum_cli.settings import ScoreSettings as ScoreSettings
    from dialsum_cli.settings import ScreenSettings as ScreenSettings
    from dialsum_cli.workflows.cache_clean import cache_clean as cache_clean
    from dialsum_cli.workflows.check import check as check
    from dialsum_cli.workflows.ensemble import ensemble as ensemble
    from dialsum_cli.workflows.finetune import finetune as finetune
    from dialsum_cli.workflows.models import list_models as list_models
    from dialsum_cli.workflows.predict import predict as predict
    from dialsum_cli.workflows.score import score as score
    from dialsum_cli.workflows.screen import screen as screen

__version__ = "0.1.0"

_HOME = {
    "screen": "workflows.screen",
    "finetune": "workflows.finetune",
    "predict": "workflows.predict",
    "check": "workflows.check",
    "score": "workflows.score",
    "ensemble": "workflows.ensemble",
    "cache_clean": "workflows.cache_clean",
    "list_models": "workflows.models",
    "ScreenSettings": "settings",
    "FinetuneSettings": "settings",
    "PredictSettings": "settings",
    "CheckSettings": "settings",
    "ScoreSettings": "settings",
    "EnsembleSettings": "settings",
    "CacheCleanSettings": "settings",
    "ModelsSettings": "settings",
    "DialsumError": "errors",
    "RequestError": "errors",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import dialsum_cli` never imports torch (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
