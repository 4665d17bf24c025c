"""Train in forked processes that are killed at random moments, and watch what lies on disk all the while.

Run as a program, so that the forking process has no threads: ``python -m tests.builders.killing FOLDER KILLS SEED``.
Forked processes need not load torch and what it fetches later, which would cost seconds each. Prints a JSON summary.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import attrs
import torch

from cogkp.artifacts.checkpoint import Checkpoint, load_checkpoint
from cogkp.artifacts.checksum import verified
from cogkp.artifacts.runs import CHECKPOINT_NAME, METRICS_NAME, RECORD_NAME
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.config.train import TrainOptions
from cogkp.errors import CogkpError
from cogkp.tasks.registry import build_task
from cogkp.training.optim import build_optimizer
from cogkp.workflows.train import train
from tests.builders.tiny_keypoints import tiny_config

OPTIONS = TrainOptions(
    epochs=6,
    batch_size=4,
    learning_rate=3e-3,
    ema_decay=0.8,
    num_workers=0,
    checkpoint_interval="2steps",
    keep_last=2,
    log_interval=1,
)
LONGEST_LIFE_S = 0.6
STILLBORN_SHARE = 0.2
LOOK_EVERY_S = 0.03
STUCK_S = 240.0


@attrs.define
class Watch:
    """What was seen of one training, over all its lives."""

    root: Path
    looks: int = 0
    unreadable: list[str] = attrs.field(factory=list)
    position: tuple[int, int] = (0, 0)
    rolled_back: list[str] = attrs.field(factory=list)
    finished: bool = False
    seen: set[tuple[int, int, int]] = attrs.field(factory=set)

    def look(self) -> None:
        """Verify the checksum of every checkpoint with a documented name, whenever its file is another one."""
        for path in sorted(self.root.rglob("checkpoint_*.pth")):
            self.looks += 1
            with suppress(FileNotFoundError):  # an old save that was dropped since
                self.look_at(path)

    def look_at(self, path: Path) -> None:
        facts = path.stat()
        key = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        if key in self.seen:
            return
        self.seen.add(key)
        try:
            verified(path.read_bytes())
        except CogkpError as error:
            self.unreadable.append(f"{path.name}: {error}")

    def bury(self) -> None:
        """Read everything after a death; the newest state must not be older than any seen before."""
        self.seen.clear()
        self.look()
        latest = [load_checkpoint(path) for path in self.root.rglob(CHECKPOINT_NAME)]
        position = max((one.state.position for one in latest), default=(0, 0))
        if position < self.position:
            self.rolled_back.append(f"{self.position} -> {position}")
        self.position = position
        self.finished = any(one.state.finished for one in latest)

    def check_start(self) -> None:
        """See in its record that the last life began where the one before had saved."""
        for record in self.root.rglob(RECORD_NAME):
            restored = [session["plan"] for session in json.loads(record.read_text())["sessions"]]
            if len(restored) > 1 and not restored[-1].startswith("resume"):
                self.rolled_back.append(restored[-1])


def one_life(
    config: KeypointConfig, root: Path, watch: Watch, seconds: float | None, *, stillborn: bool = False
) -> bool:
    """Train in a child until it ends, or for a while after its first step; return whether it was killed.

    A stillborn one is killed so long after its birth, which is mostly before its first step.
    """
    before = _told(root)
    child = os.fork()
    if child == 0:
        _be_the_child(config, root)
    awoke = born = time.monotonic()
    while True:
        if not stillborn and _told(root) == before:
            awoke = time.monotonic()
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                raise SystemExit(f"a training failed by itself: {status}")
            return False
        age = time.monotonic() - awoke
        if seconds is not None and age >= seconds:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        if time.monotonic() - born > STUCK_S:
            os.kill(child, signal.SIGKILL)
            raise SystemExit("a training is stuck")
        watch.look()
        time.sleep(min(LOOK_EVERY_S, max(0.0, (seconds or STUCK_S) - age)))


def _told(root: Path) -> set[tuple[str, int]]:
    """What the histories look like; another size or time means another line."""
    return {(str(path), path.stat().st_mtime_ns) for path in root.glob(f"*/{METRICS_NAME}") if path.stat().st_size}


def _be_the_child(config: KeypointConfig, root: Path) -> None:
    try:
        restore = "latest" if (root / CHECKPOINT_NAME).is_file() or any(root.glob(f"*/{CHECKPOINT_NAME}")) else None
        train(config, OPTIONS, restore=restore, checkpoint_root=root, log_dir=None)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def differences(root: Path, reference: Path) -> list[str]:
    """Compare the end of a training, and its history, with one that was never disturbed."""
    found, wanted = load_checkpoint(root / CHECKPOINT_NAME), load_checkpoint(reference / CHECKPOINT_NAME)
    said = [name for name in wanted.state.weights if not _same(found.state.weights[name], wanted.state.weights[name])]
    said = said[:3]
    said += ["average"] * (not _same(found.state.average, wanted.state.average))
    said += ["optimizer"] * (not _same(found.state.optimizer, wanted.state.optimizer))
    said += ["random streams"] * (not _same(found.state.rng, wanted.state.rng))
    said += ["best"] * (found.state.best != wanted.state.best)
    said += ["best checkpoint"] * (not _same(_best(root, found).state.weights, _best(reference, wanted).state.weights))
    said += ["history"] * (_history(root, found) != _history(reference, wanted))
    return said


def _best(root: Path, newest: Checkpoint) -> Checkpoint:
    return load_checkpoint(root / newest.provenance.run / "checkpoint_best.pth")


def _history(root: Path, newest: Checkpoint) -> list[dict]:
    lines = (root / newest.provenance.run / METRICS_NAME).read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name.split("/")[0] != "time"} for line in lines]


def _same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def warm_up(config: KeypointConfig) -> None:
    """Let torch fetch what a first step needs; without a backward pass, after which forked ones cannot have theirs."""
    task = build_task(config)
    optimizer = build_optimizer(task.model, 1e-3)
    with torch.no_grad():
        task.model.eval()(torch.zeros(1, 1, 64, 64))
    for parameter in task.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill trainings, one after another where they end, until there were enough kills; let the last one end."""
    torch.set_num_threads(1)
    config, generator = tiny_config(folder, frames=12, validation=2), random.Random(seed)
    warm_up(config)
    reference = folder / "undisturbed"
    one_life(config, reference, Watch(reference), None)
    summary: dict = {"kills": 0, "trainings": 0, "looks": 0, "unreadable": [], "rolled_back": [], "differences": []}
    while summary["kills"] < kills:
        watch = Watch(folder / f"killed-{summary['trainings']}")
        while not watch.finished:  # a training may also be killed after its last save, on its way out
            seconds = generator.uniform(0.0, LONGEST_LIFE_S) if summary["kills"] < kills else None
            stillborn = generator.random() < STILLBORN_SHARE
            summary["kills"] += one_life(config, watch.root, watch, seconds, stillborn=stillborn)
            watch.bury()
            watch.check_start()
        summary["trainings"] += 1
        summary["looks"] += watch.looks
        summary["unreadable"] += watch.unreadable
        summary["rolled_back"] += watch.rolled_back
        summary["differences"] += differences(watch.root, reference)
    print(json.dumps(summary))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
