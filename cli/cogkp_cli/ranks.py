"""Restart a command under torchrun, one process per GPU, where several GPUs are asked for."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal

from cogkp import cli_api

if TYPE_CHECKING:
    from cogkp import CenterPoseConfig

RankedVerb = Literal["train", "evaluate", "inference"]
RANKED: tuple[RankedVerb, ...] = ("train", "evaluate", "inference")
"""Verbs that run on several GPUs where their section asks for them."""


def on_every_gpu(config: CenterPoseConfig, verb: RankedVerb) -> None:
    """Become as many processes as a verb's section asks for; do nothing where this one is enough.

    The words of the command stay; its signals and its exit code are those of the program that starts the processes.
    """
    start = cli_api.ranks_to_start(getattr(config, verb), verb)
    if start is None:
        return
    os.environ.update(start.environment)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(start.words[0], [*start.words, "-m", "cogkp_cli", *sys.argv[1:]])
