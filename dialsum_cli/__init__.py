"""Summarise Korean dialogues: screen, fine-tune, predict and score."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dialsum_cli.allocator import keep_whole

if TYPE_CHECKING:
    from dialsum_cli.data.dialogues import Dialogue as Dialogue
    from dialsum_cli.data.dialogues import read_dialogues as read_dialogues
    from dialsum_cli.errors import DialsumError as DialsumError
    from dialsum_cli.errors import RequestError as RequestError
    from dialsum_cli.metrics.trainer import compute_metrics as compute_metrics
    from dialsum_cli.models.loading import LoadedModel as LoadedModel
    from dialsum_cli.models.loading import load_model as load_model
    from dialsum_cli.settings import BUNDLED as BUNDLED
    from dialsum_cli.settings import CacheCleanSettings as CacheCleanSettings
    from dialsum_cli.settings import CheckSettings as CheckSettings
    from dialsum_cli.settings import DoctorSettings as DoctorSettings
    from dialsum_cli.settings import EnsembleSettings as EnsembleSettings
    from dialsum_cli.settings import FinetuneSettings as FinetuneSettings
    from dialsum_cli.settings import ModelsSettings as ModelsSettings
    from dialsum_cli.settings import PredictSettings as PredictSettings
    from dialsum_cli.settings import ReportSettings as ReportSettings
    from dialsum_cli.settings import ScoreSettings as ScoreSettings
    from dialsum_cli.settings import ScreenSettings as ScreenSettings
    from dialsum_cli.settings import TuneSettings as TuneSettings
    from dialsum_cli.training.rows import TrainingRows as TrainingRows
    from dialsum_cli.training.rows import training_rows as training_rows
    from dialsum_cli.workflows.cache_clean import cache_clean as cache_clean
    from dialsum_cli.workflows.check import check as check
    from dialsum_cli.workflows.doctor import doctor as doctor
    from dialsum_cli.workflows.doctor import show_plan as show_plan
    from dialsum_cli.workflows.ensemble import ensemble as ensemble
    from dialsum_cli.workflows.finetune import finetune as finetune
    from dialsum_cli.workflows.models import list_models as list_models
    from dialsum_cli.workflows.predict import predict as predict
    from dialsum_cli.workflows.report import report as report
    from dialsum_cli.workflows.score import score as score
    from dialsum_cli.workflows.screen import screen as screen
    from dialsum_cli.workflows.show_batch import show_batch as show_batch
    from dialsum_cli.workflows.show_prompt import show_prompt as show_prompt
    from dialsum_cli.workflows.tune import tune as tune

__version__ = "0.1.0"

_HOME = {
    "screen": "workflows.screen",
    "finetune": "workflows.finetune",
    "predict": "workflows.predict",
    "check": "workflows.check",
    "score": "workflows.score",
    "ensemble": "workflows.ensemble",
    "tune": "workflows.tune",
    "report": "workflows.report",
    "cache_clean": "workflows.cache_clean",
    "list_models": "workflows.models",
    "doctor": "workflows.doctor",
    "ScreenSettings": "settings",
    "FinetuneSettings": "settings",
    "PredictSettings": "settings",
    "CheckSettings": "settings",
    "ScoreSettings": "settings",
    "EnsembleSettings": "settings",
    "TuneSettings": "settings",
    "ReportSettings": "settings",
    "CacheCleanSettings": "settings",
    "ModelsSettings": "settings",
    "DoctorSettings": "settings",
    "show_prompt": "workflows.show_prompt",
    "show_batch": "workflows.show_batch",
    "show_plan": "workflows.doctor",
    "load_model": "models.loading",
    "LoadedModel": "models.loading",
    "read_dialogues": "data.dialogues",
    "Dialogue": "data.dialogues",
    "training_rows": "training.rows",
    "TrainingRows": "training.rows",
    "compute_metrics": "metrics.trainer",
    "BUNDLED": "settings",
    "DialsumError": "errors",
    "RequestError": "errors",
}
__all__ = ["__version__", *_HOME]


keep_whole()


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import dialsum_cli` never imports torch (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
