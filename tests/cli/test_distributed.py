"""``torchrun ... s6 cog keypoint --train``: real processes that are killed, that fail, and that go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cogkp.artifacts.checkpoint import TrainingState, load_checkpoint
from cogkp.artifacts.runs import CHECKPOINT_NAME
from cogkp.config.keypoint.io import dump
from cogkp.files import write_json
from tests.builders.ranks import SCENARIOS, config_of, prepare

BIN = Path(sys.executable).parent
EPOCHS = 6
STEPS = 3 * EPOCHS
NUMBERS = f"-e {EPOCHS} -b 4 -lr 3e-3 --ema 0.5 -w 0 --precision fp32 --checkpoint-interval 1 --log-interval 1"
STEPS_BEFORE_DEATH = 4
PATIENCE_S = 900.0  # for a start on a busy machine
PROMPT_S = 30.0  # for an end

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # half a minute of work, but it may get a small share of a busy machine
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    prepare(folder)
    write_json(folder / "config.json", dump(config_of(folder, SCENARIOS["views"])))
    return folder


class Job:
    """One torchrun with two ranks."""

    def __init__(self, home: Path, place: Path, *words: str) -> None:
        place.mkdir(exist_ok=True)
        self.place = place
        numbers = "" if "--restore" in words else NUMBERS  # those of the checkpoint: -e would ask for further epochs
        command = [str(BIN / "torchrun"), "--nproc-per-node", "2", "--no-python", str(BIN / "s6"), "cog", "keypoint"]
        self.process = subprocess.Popen(
            [*command, "-c", str(home / "config.json"), "--train", "--no-tb", *numbers.split(), *words],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_steps(self, count: int) -> None:
        """Wait until so many steps are in the history."""
        started = time.monotonic()
        while sum(len(path.read_text().splitlines()) for path in self.place.glob("*/*/metrics.jsonl")) < count:
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() - started < PATIENCE_S
            time.sleep(0.02)

    def ranks(self) -> dict[str, int]:
        """The processes by rank."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = entry.joinpath("stat").read_text().rpartition(")")[2].split()[1]
                words = entry.joinpath("environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if int(parent) == self.process.pid:
                found.update({word[5:].decode(): int(entry.name) for word in words if word.startswith(b"RANK=")})
        return found

    def end(self) -> tuple[int, str, str, float]:
        """Wait for the end: exit code, stdout, stderr, seconds it took from now."""
        started = time.monotonic()
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err, time.monotonic() - started


def state_in(place: Path) -> TrainingState:
    return load_checkpoint(place / "checkpoints" / CHECKPOINT_NAME).state


def lines(stderr: str, start: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith(start)]


def test_a_job_that_was_killed_twice_ends_as_the_undisturbed_one(home):
    """First one rank is killed, which ends the other within seconds; then all processes at once."""
    killed, undisturbed = home / "killed", home / "undisturbed"
    job = Job(home, killed)
    job.wait_for_steps(STEPS_BEFORE_DEATH)
    os.kill(job.ranks()["1"], signal.SIGKILL)
    code, out, _, seconds = job.end()
    assert code != 0
    assert (out, seconds < PROMPT_S) == ("", True)
    first = state_in(killed).position
    job = Job(home, killed, "--restore", "latest")
    job.wait_for_steps(2 * STEPS_BEFORE_DEATH + 2)
    for process in (job.process.pid, *job.ranks().values()):
        os.kill(process, signal.SIGKILL)
    job.end()
    assert first < state_in(killed).position < (EPOCHS, 0)
    for place, words in ((killed, ("--restore", "latest")), (undisturbed, ())):
        code, out, err, _ = Job(home, place, *words).end()
        assert code == 0, err
        told = [line.partition(":")[0] for line in out.splitlines()]
        assert told == ["checkpoint", "best", "report"]  # one rank speaks
    assert len(list((killed / "checkpoints").glob("2*"))) == 1  # one rank writes
    assert_same_end(killed, undisturbed)


def assert_same_end(place: Path, other: Path) -> None:
    found, wanted = state_in(place), state_in(other)
    assert found.position == (EPOCHS, 0)
    assert [name for name in wanted.weights if not torch.equal(found.weights[name], wanted.weights[name])] == []
    assert [name for name in wanted.average if not torch.equal(found.average[name], wanted.average[name])] == []
    assert found.best == wanted.best
    assert history(place) == history(other)
    assert len([facts for facts in history(place) if facts["event"] == "step"]) == STEPS


def history(place: Path) -> list[dict]:
    (path,) = place.glob("*/*/metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in facts.items() if not key.startswith("time")} for facts in lines]


def test_an_error_of_one_rank_ends_the_job_with_one_line(home):
    """An image that cannot be read is one line, with the rank that met it, however many wait for it."""
    place = home / "broken"
    picture = next((home / "train").glob("LR.image/*0.png"))
    content = picture.read_bytes()
    picture.write_bytes(content[:100])
    try:
        code, out, err, _ = Job(home, place).end()
    finally:
        picture.write_bytes(content)
    assert code != 0
    assert out == ""
    (line,) = lines(err, "error:")
    assert line.startswith(("error: rank 0 of 2: ", "error: rank 1 of 2: "))
    assert str(picture) in line
    assert "cogkp/training" not in err  # torchrun shows where it stood itself, and nothing of the library


def test_a_mistake_of_the_user_is_told_once(home):
    code, out, err, _ = Job(home, home / "odd", "-b", "5").end()
    assert code != 0
    assert out == ""
    (line,) = lines(err, "error:")
    assert "the batch size cannot be shared equally by 2 ranks: expected a multiple of 2, got 5" in line
    assert not (home / "odd" / "checkpoints").exists()
