"""Checkpoints of an experiment without a training."""

from __future__ import annotations

import attrs

from cogkp.artifacts.checkpoint import Checkpoint, Provenance, TrainingState
from cogkp.config.centerpose.io import dump_experiment
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from cogkp.workflows.families.centerpose.training import CORNER_NAMES


def with_section(config, verb, **changes):
    """Change a section of an experiment."""
    return attrs.evolve(config, **{verb: attrs.evolve(getattr(config, verb), **changes)})


def save_checkpoint(config, path, seed=0):
    """Write a checkpoint of fresh weights, as a training would have left it before its first step."""
    seed_everything(seed)
    state = TrainingState(
        weights=build_task(config).model.state_dict(),
        optimizer={},
        schedule={},
        rng={},
        epoch=0,
        step=0,
        target_epochs=1,
    )
    about = Provenance(config=dump_experiment(config), options={}, points=CORNER_NAMES, num_classes=None, data=())
    path.write_bytes(Checkpoint(state=state, provenance=about).to_bytes())
    return path
