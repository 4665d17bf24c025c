"""Loader processes that die: told where a batch is asked for, whatever the program is doing when it happens."""

import multiprocessing
import os
import signal
import time

import pytest

from cogkp.data.keypoint.dataset import AugmentedKeypointDataset
from cogkp.data.loader import build_loader
from cogkp.data.workers import DEATH_WATCH
from cogkp.errors import DataError
from tests.builders.discs import disc_config, disc_root, encode

WORKERS = 2
OTHERS: list[multiprocessing.process.BaseProcess] = []


@pytest.fixture
def loader(tmp_path):
    dataset = AugmentedKeypointDataset(disc_config(disc_root(tmp_path / "set", 10)), "train", encode)
    return build_loader(dataset, batch_size=1, num_workers=WORKERS, prefetch_factor=1)


@pytest.fixture(autouse=True)
def others():
    """Processes that other tests have left."""
    OTHERS[:] = multiprocessing.active_children()


def kill_one():
    """Kill a loader process and do something else until the system has told of it."""
    child = next(child for child in multiprocessing.active_children() if child not in OTHERS)
    os.kill(child.pid, signal.SIGKILL)
    for _ in range(100):
        time.sleep(0.01)


def test_a_death_within_a_step_is_told_at_the_next_batch(loader):
    batches = iter(loader)
    next(batches)
    kill_one()  # torch's own handler raises here
    with pytest.raises(DataError, match=r"a loader process failed.*--num-workers"):
        list(batches)


def test_a_death_is_not_told_within_the_code_that_waits(loader):
    """Some of it catches what it does not expect, and logs a traceback."""
    batches = iter(loader)
    next(batches)
    with DEATH_WATCH.awaiting(WORKERS):
        kill_one()
    with pytest.raises(DataError, match="a loader process failed"):
        list(batches)


def test_a_death_between_two_epochs_is_told_by_the_second(loader):
    assert len(list(loader)) == 20
    kill_one()
    with pytest.raises(DataError, match="a loader process failed"):
        list(loader)


def test_an_old_death_does_not_end_a_later_training(loader, tmp_path):
    batches = iter(loader)
    next(batches)
    kill_one()
    del batches, loader
    dataset = AugmentedKeypointDataset(disc_config(disc_root(tmp_path / "other", 6)), "train", encode)
    assert len(list(build_loader(dataset, batch_size=1, num_workers=WORKERS))) == 12


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "Connection reset by peer"), EOFError(), BrokenPipeError()]
)
def test_a_connection_that_breaks_is_a_death(error):
    with pytest.raises(DataError, match=r"a loader process failed.*got") as told, DEATH_WATCH.awaiting(WORKERS):
        raise error
    assert told.value.__cause__ is error
    with pytest.raises(type(error)), DEATH_WATCH.awaiting(0):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nthe real reason"),
        OSError("Caught OSError in DataLoader worker process 0.\nno such file"),
        RuntimeError("something else"),
        KeyError("worker"),
    ],
)
def test_faults_that_a_process_met_and_lived_on_pass_as_they_are(error):
    with pytest.raises(type(error)) as passed, DEATH_WATCH.awaiting(WORKERS):
        raise error
    assert passed.value is error


def test_a_process_that_ran_out_of_memory_is_told_as_such():
    error = RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nunable to mmap: Cannot allocate memory")
    with pytest.raises(DataError, match="Cannot allocate memory"), DEATH_WATCH.awaiting(WORKERS):
        raise error


def test_processes_that_cannot_be_started_are_told_with_their_number():
    with pytest.raises(DataError, match=r"2 loader processes cannot be started.*Resource"), DEATH_WATCH.starting(2):
        raise BlockingIOError(11, "Resource temporarily unavailable")
