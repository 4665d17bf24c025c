from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import attrs
import pytest
import torch

from cogkp.artifacts.checkpoint import load_checkpoint
from cogkp.errors import OutputError, TrainingError
from cogkp.tasks.registry import build_task
from cogkp.training.plan import plan_training
from cogkp.training.trainer import Loaders, fit
from tests.builders.tiny_keypoints import tiny_config
from tests.builders.training import OPTIONS, Keeper, Watcher, loaders, run_training

REPOSITORY = Path(__file__).parents[2]
CLOSE = 3.0
"""So many times the loss of float32 that of bfloat16 may be after the same steps, while both fall a hundredfold."""


def weights(task) -> dict[str, torch.Tensor]:
    return dict(task.model.state_dict())


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


class Stopper:
    """A sink that presses Ctrl-C after some steps."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.steps: list[int] = []
        self.epochs: list[int] = []
        self.closed = False

    def start(self, model, example):
        assert example.shape == (1, 1, 64, 64)

    def step(self, event):
        self.steps.append(event.step)
        if len(self.steps) == self.after:
            signal.raise_signal(signal.SIGINT)

    def epoch(self, event):
        self.epochs.append(event.epoch)

    def flush(self):
        pass

    def close(self):
        self.closed = True


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_stopping_and_going_on_equals_never_having_stopped(tmp_path, stop_after):
    config = tiny_config(tmp_path, segmentation=True, validation=2)
    whole, done = run_training(config, tmp_path / "whole")
    assert (done.epochs, done.steps, done.interrupted) == (3, 6, False)

    _, part = run_training(config, tmp_path / "parts", sinks=[Stopper(stop_after)])
    assert part.interrupted
    assert part.steps == stop_after
    saved = load_checkpoint(part.checkpoint)
    assert saved.state.epoch * 2 + saved.state.step == stop_after

    resumed, rest = run_training(config, tmp_path / "parts", restored=saved)
    assert rest.steps == 6 - stop_after
    assert_same(weights(whole), weights(resumed))
    assert rest.scalars == done.scalars
    final, expected = (load_checkpoint(tmp_path / name / "checkpoint_latest.pth").state for name in ("parts", "whole"))
    assert torch.equal(final.rng["torch"], expected.rng["torch"])
    assert final.optimizer["state"][0]["exp_avg"].equal(expected.optimizer["state"][0]["exp_avg"])
    assert final.finished


def positions(config, interval: str) -> list[tuple[int, int]]:
    task, keeper = build_task(config), Keeper()
    options = attrs.evolve(OPTIONS, epochs=2, batch_size=2, checkpoint_interval=interval)
    fit(task, plan_training(options, frozenset(), None), loaders(task, options), [], keeper)
    return keeper.positions


def test_a_save_is_due_after_so_many_steps_of_the_run_and_after_each_epoch(tmp_path):
    config = tiny_config(tmp_path)
    assert positions(config, "10min") == [(1, 0), (2, 0)]
    assert positions(config, "3steps") == [(0, 3), (1, 0), (1, 2), (2, 0)]
    assert positions(config, "4") == [(1, 0), (2, 0)]


def test_a_save_that_is_due_is_made_before_a_validation(tmp_path):
    config = tiny_config(tmp_path, validation=2)
    assert positions(config, "4") == [(0, 4), (1, 0), (1, 4), (2, 0)]


def test_sinks_have_written_all_before_the_save_that_follows(tmp_path):
    said = []

    class Telling(Stopper):
        def step(self, event):
            said.append(("step", event.epoch, event.done))

        def epoch(self, event):
            said.append(("epoch", event.epoch))

        def flush(self):
            said.append("flush")

    class Saving(Keeper):
        def save(self, state, *, best=False):
            said.append(("save", *state.position))
            return self.last

    task = build_task(tiny_config(tmp_path))
    options = attrs.evolve(OPTIONS, epochs=1, checkpoint_interval="1")
    fit(task, plan_training(options, frozenset(), None), loaders(task, options), [Telling(-1)], Saving())
    first, second = ("step", 0, 1), ("step", 0, 2)
    assert said == [first, "flush", ("save", 0, 1), second, ("epoch", 0), "flush", ("save", 1, 0)]


def test_the_best_is_the_smallest_error_also_across_a_restart(tmp_path):
    config = tiny_config(tmp_path, validation=2)
    _, result = run_training(config, tmp_path)
    best = load_checkpoint(result.checkpoint).state.best
    kept = load_checkpoint(tmp_path / "run" / "checkpoint_best.pth").state
    assert kept.position == (best["epoch"], 0)
    assert kept.best == best
    unbeatable = load_checkpoint(result.checkpoint)
    unbeatable = attrs.evolve(unbeatable, state=attrs.evolve(unbeatable.state, best={"error": 0.0, "epoch": 1}))
    _, again = run_training(config, tmp_path, given=frozenset({"epochs"}), restored=unbeatable)
    assert load_checkpoint(again.checkpoint).state.best == {"error": 0.0, "epoch": 1}
    assert load_checkpoint(tmp_path / "run" / "checkpoint_best.pth").state.position == kept.position


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    config = tiny_config(tmp_path)
    once, again = (run_training(config, tmp_path / name)[0] for name in ("a", "b"))
    other = run_training(config, tmp_path / "c", options=attrs.evolve(OPTIONS, seed=1))[0]
    assert_same(weights(once), weights(again))
    assert not torch.equal(next(iter(weights(once).values())), next(iter(weights(other).values())))


def test_a_sink_or_a_validation_does_not_change_the_training(tmp_path):
    plain = tiny_config(tmp_path)
    validated = tiny_config(tmp_path / "second", validation=2)
    sink = Stopper(after=-1)
    task, result = run_training(validated, tmp_path / "b", sinks=[sink])
    assert_same(weights(run_training(plain, tmp_path / "a")[0]), weights(task))
    assert (sink.steps, sink.epochs, sink.closed) == ([1, 2, 3, 4, 5, 6], [0, 1, 2], True)
    assert result.scalars.keys() >= {"loss", "validation/error_mean_px", "validation/pck_5px"}
    assert not task.model.training


def test_the_whole_training_is_one_piece_of_work(tmp_path):
    watcher = Watcher()
    config = tiny_config(tmp_path, segmentation=True, validation=2)
    run_training(config, tmp_path, sinks=[Stopper(3)], progress=watcher)
    assert (watcher.begun, watcher.done) == ([("train", 6)], 3)
    assert watcher.facts.keys() == {"epoch", "loss", "lr", "validation"}
    assert watcher.facts["epoch"] == "2/3"
    assert re.fullmatch(r"mean [\d.]+ px, median [\d.]+ px, mask IoU [\d.]+", watcher.facts["validation"])

    saved, rest = load_checkpoint(tmp_path / "run" / "checkpoint_latest.pth"), Watcher()
    run_training(config, tmp_path, restored=saved, progress=rest)
    assert (rest.begun, rest.done) == ([("train", 3)], 3)


class Interrupting:
    """Validation data during which somebody presses Ctrl-C."""

    def __init__(self, loader) -> None:
        self.loader = loader
        self.given = 0

    def __len__(self):
        return 100

    def __iter__(self):
        batch = next(iter(self.loader))
        for self.given in range(1, 101):
            if self.given == 3:
                signal.raise_signal(signal.SIGINT)
            yield batch


def test_ctrl_c_ends_a_long_validation_which_is_then_still_to_come(tmp_path):
    task = build_task(tiny_config(tmp_path, validation=2))
    good, sink, keeper = loaders(task, OPTIONS), Stopper(after=-1), Keeper()
    validation = Interrupting(good.validation)
    result = fit(task, plan_training(OPTIONS, frozenset(), None), Loaders(good.train, validation), [sink], keeper)
    assert (result.epochs, result.interrupted, validation.given) == (0, True, 3)
    assert keeper.positions == [(0, 2)]
    assert sink.epochs == []
    assert "loss" in result.scalars
    assert not any(name.startswith("validation/") for name in result.scalars)


class Losses(Stopper):
    """A sink that writes down the mean loss of each epoch."""

    def __init__(self) -> None:
        super().__init__(after=-1)
        self.losses: list[float] = []

    def epoch(self, event):
        self.losses.append(event.scalars["loss"])


def losses(folder: Path, precision: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    sink = Losses()
    options = attrs.evolve(OPTIONS, epochs=15, precision=precision)
    task, _ = run_training(tiny_config(folder), folder, options=options, sinks=[sink])
    return sink.losses, weights(task)


@pytest.fixture(scope="module")
def exact_losses(tmp_path_factory) -> list[float]:
    return losses(tmp_path_factory.mktemp("fp32"), "fp32")[0]


def test_training_lowers_the_loss(exact_losses):
    assert exact_losses[-1] < 0.5 * exact_losses[0]


def test_the_documented_default_rate_stays_finite(tmp_path):
    options = attrs.evolve(OPTIONS, epochs=10, learning_rate=1e-2)
    _, result = run_training(tiny_config(tmp_path), tmp_path, options=options)
    assert result.scalars["loss"] < 30


def test_bfloat16_training_learns_too(tmp_path, exact_losses):
    rounded, trained = losses(tmp_path, "bf16")
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in trained.values())
    assert rounded != exact_losses
    assert rounded[-1] < 0.5 * rounded[0]
    assert rounded[-1] < CLOSE * exact_losses[-1]


def test_further_epochs_count_on_and_keep_the_moments(tmp_path):
    config = tiny_config(tmp_path)
    _, first = run_training(config, tmp_path)
    saved = load_checkpoint(first.checkpoint)
    options = attrs.evolve(OPTIONS, epochs=2)
    _, second = run_training(config, tmp_path, options=options, given=frozenset({"epochs"}), restored=saved)
    state = load_checkpoint(second.checkpoint).state
    assert (second.epochs, second.steps, state.target_epochs) == (5, 4, 5)
    assert float(state.optimizer["state"][0]["step"]) == 10


class Poisoned:
    """A loader whose second batch carries one image that is not a number."""

    def __init__(self, loader) -> None:
        self.loader = loader

    def __len__(self):
        return len(self.loader)

    def set_epoch(self, epoch, start_batch=0):
        self.loader.set_epoch(epoch, start_batch)

    def __iter__(self):
        for number, batch in enumerate(self.loader):
            if number == 1:
                batch.image[2, 0, 0, 0] = float("nan")
            yield batch


def test_a_loss_that_is_no_number_stops_and_names_the_sample(tmp_path):
    task = build_task(tiny_config(tmp_path))
    good = loaders(task, OPTIONS)
    sink = Stopper(after=-1)
    with pytest.raises(TrainingError, match=r"epoch 1, step 2: got loss = nan.*good\.pth") as caught:
        fit(task, plan_training(OPTIONS, frozenset(), None), Loaders(Poisoned(good.train)), [sink], Keeper())
    assert str(caught.value).count("train:") == 1
    assert sink.closed
    assert all(parameter.isfinite().all() for parameter in task.model.parameters())


def test_no_data_is_an_error(tmp_path):
    task = build_task(tiny_config(tmp_path))
    with pytest.raises(TrainingError, match="nothing to train on"):
        fit(task, plan_training(OPTIONS, frozenset(), None), Loaders([]), [], Keeper())


class FullDisk(Keeper):
    def save(self, state, *, best=False):
        raise OutputError("cannot write", where="checkpoint")


def test_a_failed_save_stops_the_training_and_hands_ctrl_c_back(tmp_path):
    task = build_task(tiny_config(tmp_path))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(OutputError):
        fit(task, plan_training(OPTIONS, frozenset(), None), loaders(task, OPTIONS), [], FullDisk())
    assert signal.getsignal(signal.SIGINT) is before


CHILD = """
    import sys
    from pathlib import Path
    import attrs
    from tests.builders.tiny_keypoints import tiny_config
    from tests.builders.training import OPTIONS, run_training

    class Announce:
        def start(self, model, example): pass
        def step(self, event): print("step", event.step, flush=True)
        def epoch(self, event): pass
        def flush(self): pass
        def close(self): pass

    if __name__ == "__main__":
        root = Path(sys.argv[1])
        options = attrs.evolve(OPTIONS, epochs=10_000, num_workers=int(sys.argv[2]))
        task, result = run_training(tiny_config(root), root, options=options, sinks=[Announce()])
        print("interrupted", result.interrupted, result.epochs, result.steps, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_in_a_terminal_saves_and_ends(tmp_path, workers):
    """A terminal sends the signal to the whole group, loader processes included."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path), str(workers)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(5):
        assert "step" in child.stdout.readline()
    signal_group(child.pid)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert err == ""
    steps = out.splitlines()
    word, interrupted, epochs, taken = steps[-1].split()
    assert (word, interrupted) == ("interrupted", "True")
    state = load_checkpoint(tmp_path / "run" / "checkpoint_latest.pth").state
    assert state.epoch == int(epochs)
    assert state.epoch * 2 + state.step == int(taken)


def signal_group(pid: int) -> None:
    import os

    os.killpg(pid, signal.SIGINT)


STUBBORN = """
    import signal, sys, time
    from cogkp.training.interrupt import listening
    with listening() as interrupt:
        print("ready", flush=True)
        for _ in range(600):
            time.sleep(0.1)
            if interrupt.requested:
                print("asked", flush=True)
"""


def test_a_second_ctrl_c_aborts_at_once():
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STUBBORN)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "asked\n"
    started = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    assert time.monotonic() - started < 5
    assert "KeyboardInterrupt" in err
