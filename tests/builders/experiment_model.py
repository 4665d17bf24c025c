"""Checkpoints of an experiment without a training."""

from __future__ import annotations

import attrs

from cogkp.artifacts.checkpoint import Provenance
from cogkp.config.centerpose.io import dump_experiment
from cogkp.tasks.registry import build_task
from cogkp.training.seeding import seed_everything
from cogkp.workflows.families.centerpose.training import CORNER_NAMES
from tests.builders.model_files import write_checkpoint


def with_section(config, verb, **changes):
    """Change a section of an experiment."""
    return attrs.evolve(config, **{verb: attrs.evolve(getattr(config, verb), **changes)})


def save_checkpoint(config, path, seed=0):
    """Write a checkpoint of fresh weights, as a training would have left it before its first step."""
    seed_everything(seed)
    about = Provenance(config=dump_experiment(config), options={}, points=CORNER_NAMES, num_classes=None, data=())
    return write_checkpoint(path, build_task(config).model.state_dict(), about, epoch=0)
