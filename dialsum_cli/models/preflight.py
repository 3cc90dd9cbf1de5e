"""What a model will need of this machine, told before its weights are downloaded."""

import torch

from dialsum_cli.models.loading import open_checkpoint
from dialsum_cli.models.planning import (
    choose_precision,
    device,
    free_bytes,
    generation_bytes,
    layers,
    skeleton,
    weight_bytes,
)
from dialsum_cli.models.sources import free_disk
from dialsum_cli.registry import ModelSpec
from dialsum_cli.results import PreflightRow
from dialsum_cli.settings import SummarizerSettings


def preflight(spec: ModelSpec, settings: SummarizerSettings) -> tuple[ModelSpec, PreflightRow]:
    """The model pinned to the commit that it has now, and what it will need.

    Raises:
        DialsumError: as `open_checkpoint` and `choose_precision`.
        ValueError: transformers has no model for its configuration that writes text.
    """
    checkpoint = open_checkpoint(spec)
    config = checkpoint.config
    precision, deviation = choose_precision(checkpoint.spec, config, settings)
    free = free_bytes()
    if free is not None:
        free = max(0, free - weight_bytes(config, precision))
    memory = generation_bytes(config, precision, settings, free)
    download = sum(source.missing_bytes for source in checkpoint.sources)
    notes = [deviation] if precision == "nf4" and deviation else []
    if download > free_disk(checkpoint.base.folder):
        notes.append("more to download than the disk has free")
    if device().type == "cuda" and memory > torch.cuda.mem_get_info()[0]:
        notes.append("a full batch needs more memory than is free: batches will be halved")
    row = PreflightRow(
        model=spec.name,
        parameters=skeleton(config).num_parameters(),
        layers=layers(config),
        precision=precision,
        download_bytes=download,
        memory_bytes=memory,
        note="; ".join(notes),
    )
    return checkpoint.spec, row


def download_bytes(spec: ModelSpec) -> int:
    """How much of a model, and of the base of an adapter, is still to be downloaded.

    Raises:
        DialsumError: as `open_checkpoint`.
    """
    checkpoint = open_checkpoint(spec)
    return sum(source.missing_bytes for source in checkpoint.sources)
