"""Every option of every command, declared once: flags, YAML keys and environment variables derive from here."""

from dialsum_cli.settings.base import (
    ENV_PREFIX,
    Settings,
    is_positional,
    owner_of,
)
from dialsum_cli.settings.commands import (
    CacheCleanSettings,
    CheckSettings,
    DoctorSettings,
    EnsembleSettings,
    FinetuneSettings,
    ModelsSettings,
    PredictSettings,
    ReportSettings,
    ScoreSettings,
    ScreenSettings,
    TuneSettings,
)
from dialsum_cli.settings.groups import (
    DiskSettings,
    EngineSettings,
    GenerationSettings,
    ModelSettings,
    RecipeSettings,
    SamplingSettings,
    SummarizerSettings,
    TrackingSettings,
    TrainingSettings,
)
from dialsum_cli.settings.space import (
    DECODING,
    TRAINING,
    Entry,
    Range,
    is_integer,
)
from dialsum_cli.settings.values import (
    BUNDLED,
    CACHES,
    Precision,
    parse_bytes,
    parse_seconds,
)
