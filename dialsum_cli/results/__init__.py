"""What the commands return."""

from dialsum_cli.results.base import (
    DataFacts,
    Result,
    Scores,
)
from dialsum_cli.results.caches import (
    CacheCleanResult,
    CachedModel,
    CatalogueRow,
    ModelsResult,
)
from dialsum_cli.results.predicting import (
    CheckResult,
    Finding,
    PredictResult,
)
from dialsum_cli.results.scoring import (
    Diagnostics,
    EnsembleResult,
    EnsembleSystem,
    Piece,
    ScoredItems,
    ScoreResult,
    SystemItems,
    SystemScore,
    Verification,
    WorstCase,
)
from dialsum_cli.results.screening import (
    LeaderboardRow,
    PreflightResult,
    PreflightRow,
    PromptsResult,
    ScreenResult,
    ShownPrompt,
)
from dialsum_cli.results.training import (
    BatchesResult,
    DataCheckResult,
    DataFinding,
    FinetuneResult,
    FinetuneRun,
    ShownBatch,
    ShownRow,
    TokenLengths,
    TrainingPlan,
)

__all__ = [
    "BatchesResult",
    "CacheCleanResult",
    "CachedModel",
    "CatalogueRow",
    "CheckResult",
    "DataCheckResult",
    "DataFacts",
    "DataFinding",
    "Diagnostics",
    "EnsembleResult",
    "EnsembleSystem",
    "Finding",
    "FinetuneResult",
    "FinetuneRun",
    "LeaderboardRow",
    "ModelsResult",
    "Piece",
    "PredictResult",
    "PreflightResult",
    "PreflightRow",
    "PromptsResult",
    "Result",
    "ScoreResult",
    "ScoredItems",
    "Scores",
    "ScreenResult",
    "ShownBatch",
    "ShownPrompt",
    "ShownRow",
    "SystemItems",
    "SystemScore",
    "TokenLengths",
    "TrainingPlan",
    "Verification",
    "WorstCase",
]
