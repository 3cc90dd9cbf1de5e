"""What the commands return."""

from dialsum_cli.results.base import (
    LEVEL,
    Compared,
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
from dialsum_cli.results.health import (
    DoctorResult,
    DoctorRow,
)
from dialsum_cli.results.predicting import (
    CheckResult,
    Finding,
    PredictResult,
)
from dialsum_cli.results.reporting import (
    ReportedRun,
    ReportedSystem,
    ReportResult,
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
    FinetuneResult,
    FinetuneRun,
    LengthsResult,
    ShownBatch,
    ShownRow,
    TokenLengths,
    TrainingPlan,
)
from dialsum_cli.results.tuning import (
    TunedStage,
    TuneResult,
    TuneTrial,
)
