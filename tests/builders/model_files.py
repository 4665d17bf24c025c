"""Checkpoints and ONNX files of a task, without a training."""

from __future__ import annotations

from pathlib import Path

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState
from cogkp.artifacts.manifest import Origin
from cogkp.exporter.deploy import deploy
from cogkp.inference.parity import verify_onnx


def write_checkpoint(path: Path, weights, provenance: Provenance, *, epoch: int = 1, average=None) -> Path:
    """Write the checkpoint of a training of one epoch, before or after it."""
    state = TrainingState(
        weights=weights, optimizer={}, schedule={}, rng={}, epoch=epoch, step=0, target_epochs=1, average=average
    )
    path.write_bytes(Checkpoint(state=state, provenance=provenance).to_bytes())
    return path


def write_onnx(path: Path, task, batch_size: int | None = 1) -> Path:
    """Export as the verb does; batch None takes any."""
    return deploy(
        task,
        onnx_path=path,
        engine_path=None,
        precision="fp32",
        batch_size=batch_size,
        builder="auto",
        origin=Origin("ab" * 32),
        verify=lambda module, onnx, signature: verify_onnx(module, onnx, signature, {}),
        log=lambda line: None,
    ).onnx
