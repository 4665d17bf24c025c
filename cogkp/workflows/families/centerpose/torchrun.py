"""The command that starts an experiment's processes, one per GPU."""

import os
import sys
from collections.abc import Mapping

import attrs
import torch

from cogkp.config.centerpose.spec import RunSpec, Verb
from cogkp.errors import TrainingError

TORCHRUN = "torch.distributed.run"
ON_PROCESSORS = "to take that many processes on this machine's processors, start: {}"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@attrs.frozen
class Start:
    """What stands before the words of a command so that it runs once on each GPU.

    Args:
        words: a program and its arguments; the module to run follows as ``-m NAME`` with its own.
        environment: variables that differ from those of this process.
        advice: the same as one types it.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]
    advice: str


def ranks_to_start(
    run: RunSpec, verb: Verb, environment: Mapping[str, str] | None = None, *, present: int | None = None
) -> Start | None:
    """Say how to start the processes that a section of an experiment asks for.

    Args:
        run: the section; ``num_gpus`` and ``gpu_ids`` are reconciled.
        verb: whose section it is.
        environment: that of this process when None; who started it with ``torchrun`` has decided, whatever the section
            says.
        present: GPUs of this machine; counted when None.

    Returns:
        None where this process is enough, or is one of those that were started.

    Raises:
        TrainingError: the machine has not as many GPUs, or other machines are asked for.
    """
    found = os.environ if environment is None else environment
    if "WORLD_SIZE" in found:
        return None
    count = len(run.gpus)
    advice = f"torchrun --nproc-per-node {count} --no-python s6 cog centerpose {verb} -e SPEC.yaml"
    if run.num_nodes > 1:
        nodes = f"torchrun --nnodes {run.num_nodes} --rdzv-backend c10d --rdzv-endpoint FIRST-MACHINE:29500 "
        hint = f"Start on each machine: {nodes}{advice.removeprefix('torchrun ')}"
        raise TrainingError("other machines cannot be started from here", where=f"{verb}.num_nodes", hint=hint)
    gpus = torch.cuda.device_count() if present is None else present
    if count > 1 and not gpus:
        hint = f"Give {verb}.num_gpus=1; or, {ON_PROCESSORS.format(advice)}"
        raise TrainingError("there is no GPU here", where=f"{verb}.num_gpus", got=f"{count} asked for", hint=hint)
    if gpus and max(run.gpus, default=0) >= gpus:
        got = ", ".join(map(str, run.gpus))
        raise TrainingError("there is no such GPU here", where=f"{verb}.gpu_ids", expected=f"0 to {gpus - 1}", got=got)
    if count <= 1:
        return None
    words = (sys.executable, "-m", TORCHRUN, "--standalone", "--nproc-per-node", str(count))
    chosen = _visible(run.gpus, found)
    return Start(words, {VISIBLE: chosen}, f"{VISIBLE}={chosen} {advice}")


def require_started(run: RunSpec, verb: Verb) -> None:
    """Refuse to do alone (TrainingError) what several GPUs are asked for; the message has the command."""
    start = ranks_to_start(run, verb)
    if start is not None:
        raise TrainingError(
            "several GPUs are asked for, and this is one process",
            where=f"{verb}.num_gpus",
            expected="1",
            got=str(len(run.gpus)),
            hint=f"Start: {start.advice}",
        )


def _visible(gpus: tuple[int, ...], environment: Mapping[str, str]) -> str:
    """Name the GPUs as CUDA does, of those that this process sees."""
    seen = [name for name in environment.get(VISIBLE, "").split(",") if name]
    return ",".join(seen[gpu] if gpu < len(seen) else str(gpu) for gpu in gpus)
