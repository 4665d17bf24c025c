"""A process that trains an experiment, and may kill itself on the way.

Run as a program: ``python -m tests.builders.experiment_jobs SPEC.yaml [STEP]``, or in its place by torchrun.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from cogkp.config.centerpose.io import load_experiment
from cogkp.workflows.train import train
from tests.builders.ranks import Curve


class Killer(Curve):
    """Pulls the plug after a step of the run, before anything is saved of it."""

    def step(self, event):
        if event.step == self.stop_after:
            os.kill(os.getpid(), signal.SIGKILL)


def main(spec: Path, last_step: int | None) -> None:
    torch.set_num_threads(1)
    train(load_experiment(spec, verb="train"), sinks=[Killer(last_step)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None)
