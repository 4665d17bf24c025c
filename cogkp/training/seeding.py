"""Seed, save and restore the global random number generators."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from cogkp.config.torchrun import Launch

OTHERS = "other_ranks"


def seed_everything(seed: int) -> None:
    """Seed the global streams of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_rank(seed: int, launch: Launch) -> None:
    """Give every rank but the first streams of its own, so that dropout draws differ from rank to rank."""
    if not launch.first:
        seed_everything(int(np.random.SeedSequence([seed, launch.rank]).generate_state(1)[0]))


def capture_rng() -> dict[str, Any]:
    """Return the state of every global stream as plain values and tensors."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Set every global stream as it was; GPUs that are not here are left out."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, numbers, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, numbers.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def joint_rng(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join the states of all ranks; that of a single process stays what it is."""
    first, *others = states
    return first | {OTHERS: others} if others else first


def rng_of(state: Mapping[str, Any], launch: Launch) -> Mapping[str, Any] | None:
    """Take one rank's state out of joint ones; None where there are other ranks now, except for the first."""
    others = state.get(OTHERS, [])
    if launch.first:
        return state
    return others[launch.rank - 1] if len(others) + 1 == launch.ranks else None


@contextmanager
def undisturbed_rng() -> Iterator[None]:
    """Leave the global streams as they were, whatever happens inside."""
    state = capture_rng()
    try:
        yield
    finally:
        restore_rng(state)
