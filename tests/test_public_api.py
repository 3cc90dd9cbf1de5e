import subprocess
import sys

import dialsum_cli
from dialsum_cli.command import Commands

PUBLIC = {
    "__version__",
    "BUNDLED",
    "CacheCleanSettings",
    "CheckSettings",
    "Dialogue",
    "DialsumError",
    "DoctorSettings",
    "EnsembleSettings",
    "FinetuneSettings",
    "LoadedModel",
    "ModelsSettings",
    "PredictSettings",
    "ReportSettings",
    "RequestError",
    "ScoreSettings",
    "ScreenSettings",
    "TrainingRows",
    "TuneSettings",
    "cache_clean",
    "check",
    "compute_metrics",
    "doctor",
    "ensemble",
    "finetune",
    "list_models",
    "load_model",
    "predict",
    "read_dialogues",
    "report",
    "score",
    "screen",
    "show_batch",
    "show_plan",
    "show_prompt",
    "training_rows",
    "tune",
}


def test_the_public_names_are_exactly_these_and_all_import():
    assert set(dialsum_cli.__all__) == PUBLIC == set(dir(dialsum_cli))
    assert all(getattr(dialsum_cli, name) is not None for name in PUBLIC)


def test_every_command_is_a_public_function_with_public_settings():
    import dialsum_cli.cli

    for name, (settings_class, _) in Commands.registered.items():
        function = "list_models" if name == "models" else name.replace("-", "_")  # `models` is a subpackage
        assert callable(getattr(dialsum_cli, function))
        assert getattr(dialsum_cli, settings_class.__name__) is settings_class


def test_importing_the_package_costs_nothing():
    code = "import sys, dialsum_cli; sys.exit(any(name in sys.modules for name in ('torch', 'pydantic', 'rich')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_workflow_runs_from_python_without_a_terminal():
    result = dialsum_cli.list_models(dialsum_cli.ModelsSettings(name="llama3b"))
    assert [model.name for model in result.models] == ["llama3b"]
    assert list(result.to_frame()["repository"]) == ["Bllossom/llama-3.2-Korean-Bllossom-3B"]
