"""Two ranks train as one process does: real processes, started by torchrun, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.training.distributed import Ranks
from tests.builders.ranks import DROPOUT, SCENARIOS, STOPPED_AFTER, prepare, run

REPOSITORY = Path(__file__).parents[2]
TORCHRUN = Path(sys.executable).with_name("torchrun")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # half a minute of work, but it may get a small share of a busy machine
    pytest.mark.skipif(sys.platform != "linux", reason="torchrun with gloo is used on Linux"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def ranks(folder) -> list[dict[str, Any]]:
    """What each of two ranks found."""
    prepare(folder)
    done = subprocess.run(
        [str(TORCHRUN), "--nproc-per-node", "2", "-m", "tests.builders.ranks", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def assert_close(first: list[dict[str, float]], second: list[dict[str, float]], relative: float) -> None:
    assert len(first) == len(second) > 0
    for one, two in zip(first, second, strict=True):
        assert two == pytest.approx(one, rel=relative, abs=1e-9)


@pytest.mark.parametrize("name", ["views", "pairs", "parts"])
def test_loss_curve_weights_and_validation_are_those_of_one_process(folder, ranks, name):
    """Uneven last batches, missing labels, stereo losses, parts, averaged weights, clipping and BatchNorm."""
    one, two = run(folder, f"one-{name}", SCENARIOS[name], Ranks()), ranks[0][name]
    # Losses and metrics are computed in float32; weights, in float64, show what that hides.
    assert_close(one["steps"], two["steps"], 1e-6)
    assert_close(one["epochs"], two["epochs"], 1e-5)
    for key, tensor in one["weights"].items():
        assert torch.allclose(two["weights"][key], tensor, rtol=0, atol=1e-9), key


def test_the_real_network_takes_the_same_first_step(folder, ranks):
    """Later ones drift apart as with any other order of sums: AdamW divides small gradients by themselves."""
    one, two = run(folder, "one-real", SCENARIOS["real"], Ranks()), ranks[0]["real"]
    assert_close(one["steps"][:1], two["steps"][:1], 1e-4)


@pytest.mark.parametrize("name", [*SCENARIOS, "undisturbed", "resumed"])
def test_both_ranks_hold_the_same_bits(ranks, name):
    first, second = (found[name] for found in ranks)
    assert [key for key in first["weights"] if not torch.equal(first["weights"][key], second["weights"][key])] == []
    assert (first["steps"], first["epochs"]) == (second["steps"], second["epochs"])
    assert "StepBatchNorm" not in first["norms"]


def test_ctrl_c_on_one_rank_stops_both_and_what_follows_is_the_training_that_would_have_been(ranks):
    """With dropout: the random streams of both ranks differ, and both are restored."""
    for found in ranks:
        undisturbed, stopped, resumed = (found[name] for name in ("undisturbed", "stopped", "resumed"))
        assert stopped["interrupted"]
        assert len(stopped["steps"]) == STOPPED_AFTER
        assert stopped["steps"] + resumed["steps"] == undisturbed["steps"]
        wrong = [
            key
            for key in undisturbed["weights"]
            if not torch.equal(resumed["weights"][key], undisturbed["weights"][key])
        ]
        assert wrong == []
        assert torch.equal(resumed["rng"], undisturbed["rng"])
    assert not torch.equal(ranks[0]["undisturbed"]["rng"], ranks[1]["undisturbed"]["rng"])


def test_one_process_goes_on_with_what_two_have_saved(folder, ranks):
    saved = load_checkpoint(folder / "two-views" / "checkpoint_latest.pth")
    assert len(saved.state.rng["other_ranks"]) == 1
    alone = run(folder, "alone", SCENARIOS["views"], Ranks(), restored=folder / "two-views" / "checkpoint_latest.pth")
    assert len(alone["steps"]) == len(ranks[0]["views"]["steps"])  # further epochs, as many again
    assert "other_ranks" not in load_checkpoint(folder / "alone" / "checkpoint_latest.pth").state.rng


def test_a_number_lost_on_one_rank_stops_both_and_its_sample_is_named_once(ranks):
    (kind, line, told), (other, _, silent) = (found["not a number"] for found in ranks)
    assert (kind, told, other, silent) == ("TrainingError", False, "RankError", True)
    assert "the loss became NaN or infinite @ epoch 1, step 1" in line
    assert line.count("train:") == 1


def test_dropout_alone_would_tell_two_ranks_from_one(folder, ranks):
    """The oracle of the tests above can fail: a training with other draws is another training."""
    one = run(folder, "one-dropout", DROPOUT, Ranks())
    assert one["steps"][1]["loss"] != pytest.approx(ranks[0]["undisturbed"]["steps"][1]["loss"], rel=1e-6)
