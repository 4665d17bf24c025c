"""The parts of a training that a family may change: checkpoint, plan, folder, loggers, checks of a resumed run.

:class:`TrainingJob` is what most families need: a run folder under a root of checkpoints, options from the caller.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import attrs
import torch

from cogkp.artifacts.checkpoint import IMAGES, Provenance, is_checkpoint_file
from cogkp.artifacts.restore import Restored, open_checkpoint, was_left_behind
from cogkp.artifacts.runs import (
    CHECKPOINT_NAME,
    CONFIG_NAME,
    METRICS_NAME,
    TABLE_NAME,
    RunFolder,
    continue_run,
    create_run,
    in_use,
    own_name,
)
from cogkp.config.converter import plain_differences
from cogkp.config.train import TrainOptions
from cogkp.data.dataset import changes
from cogkp.drawing import draw_batch
from cogkp.errors import CheckpointError, ConfigError
from cogkp.families import family_of
from cogkp.files import in_own_folder, require_replaceable, write_json
from cogkp.tasks.base import Task
from cogkp.training.checkpointer import Checkpointer, RunCheckpointer
from cogkp.training.distributed import Ranks
from cogkp.training.history import EpochTableSink, HistorySink
from cogkp.training.plan import Plan, plan_training, steps_before
from cogkp.training.sanity import Watchdog
from cogkp.training.sinks import Sink, TensorBoardSink
from cogkp.training.trainer import FitResult
from cogkp.workflows.setup import require_family

log = logging.getLogger("cogkp")

MOST_SHOWN = 20
CHECKPOINT_ROOT = Path("checkpoints")
LOG_DIR = Path("logs/cog")


def usual_loggers(
    task: Task,
    plan: Plan,
    steps_per_epoch: int,
    folder: Path,
    *,
    board: Path | None,
    restored: Restored | None,
) -> list[Sink]:
    """Make the loggers of a training that writes into a folder.

    ``board`` is the folder of its TensorBoard events; None writes none. What was logged after ``restored`` is dropped
    or hidden.
    """
    position = hidden = earlier = None
    if restored is not None:
        position = (plan.epoch, plan.step)
        hidden = (steps_before(plan, steps_per_epoch, restored.checkpoint), plan.epoch)
        earlier = restored.home / METRICS_NAME
    lines = HistorySink(
        folder / METRICS_NAME, log_interval=plan.options.log_interval, restored=position, earlier=earlier
    )
    table = EpochTableSink(folder / TABLE_NAME, lines.kept)
    return [lines, table, *tensorboard(task, plan.options, board, hidden), Watchdog()]


def tensorboard(
    task: Task, options: TrainOptions, log_dir: Path | None, restored: tuple[int, int] | None = None
) -> list[Sink]:
    """Open TensorBoard's files; none where no folder is given."""
    if log_dir is None:
        return []
    log.info("TensorBoard log: %s", log_dir)
    draw, interval = partial(draw_batch, task.codec), options.log_interval
    return [TensorBoardSink(log_dir, verbose=options.verbose_log, log_interval=interval, draw=draw, restored=restored)]


def changed_config(restored: Restored, config: Any, adapter: Any, *, allowed: bool) -> list[str]:
    """List what changed in the configuration since a checkpoint was saved, and refuse it unless it is ``allowed``.

    Raises:
        CheckpointError: it is of another family; or something changed and ``allowed`` is false: every change is named.
    """
    require_family(restored, config)
    lines = plain_differences(_today(restored.checkpoint.provenance.config, adapter), adapter.dump(config))
    if lines and not allowed:
        raise CheckpointError(
            "the configuration changed since this checkpoint was saved",
            where=str(restored.path),
            got=_listed(lines),
            hint="Change it back, or add --allow-config-change (allow_config_change=True) to train on with it.",
        )
    for line in lines:
        log.warning("changed since %s was saved: %s", restored.path, line)
    return lines


def changed_data(restored: Restored, fingerprint: Mapping[str, Any]) -> list[str]:
    """List what changed in the data since a checkpoint was saved, by fingerprints of the splits, and warn of it."""
    lines = changes(restored.checkpoint.provenance.fingerprint, fingerprint)
    for line in lines:
        log.warning("the data changed since %s was saved: %s", restored.path, line)
    return lines


def folder_for(restored: Restored | None, root: Path) -> RunFolder:
    """Choose where a training writes: a new folder, or that of the run it goes on with.

    A run that went further than the checkpoint keeps what it has: the training then gets a folder of its own. So it
    does where the run's folder is gone or cannot be written.
    """
    require_replaceable([root / CHECKPOINT_NAME], is_checkpoint_file)
    if restored is None:
        return create_run(root)
    run = restored.checkpoint.provenance.run
    branch = was_left_behind(restored, root)
    folder = continue_run(restored.path, run, root, branch=branch)
    home = restored.run(root)
    if home is None or folder.path != home.path:
        why = (
            "its run went further than this checkpoint"
            if branch
            else "the folder of its run cannot be written to, or holds files of others"
        )
        log.warning("%s: %s, so this training writes to %s", restored.path, why, folder.path)
    return folder


def without_best(restored: Restored) -> Restored:
    """Forget the best validation: it was measured on other data, or its file lies in another folder."""
    state = attrs.evolve(restored.checkpoint.state, best=None)
    return attrs.evolve(restored, checkpoint=attrs.evolve(restored.checkpoint, state=state))


def _today(saved: Mapping[str, Any], adapter: Any) -> Mapping[str, Any]:
    """Read a saved configuration as this release does, so that what it adds by itself is no change."""
    try:
        today: Mapping[str, Any] = adapter.dump(adapter.structure(saved))
    except ConfigError:
        return saved
    return today


def _listed(lines: Sequence[str]) -> str:
    more = f"; and {len(lines) - MOST_SHOWN} more" if len(lines) > MOST_SHOWN else ""
    return "; ".join(lines[:MOST_SHOWN]) + more


class RunPlace(Protocol):
    """The folder of a training."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""

    @property
    def best(self) -> Path:
        """The checkpoint of the best validation; there only where one was made."""

    @property
    def mirror(self) -> Path | None:
        """The newest checkpoint of any run, None where the family keeps none."""


@attrs.frozen(kw_only=True)
class TrainingRequest:
    """What a caller of ``train`` or ``dry_run`` asked for; see :func:`cogkp.train`."""

    options: TrainOptions | None = None
    restore: str | None = None
    given: frozenset[str] = frozenset()
    allow_config_change: bool = False
    checkpoint_root: Path = CHECKPOINT_ROOT
    log_dir: Path | None = LOG_DIR


@attrs.define(eq=False)
class TrainingJob:
    """One training; ``train`` calls its methods in the order they stand here."""

    adapter: Any
    config: Any
    asked: TrainingRequest
    ranks: Ranks
    images: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    """What most of the training images are like; known once they were looked at."""

    @property
    def is_dry_run(self) -> bool:
        """Whether the configuration itself asks for one step of which nothing is kept."""
        return False

    @property
    def device(self) -> torch.device | None:
        """Where to train; None takes a GPU when there is one."""
        return None

    @property
    def pins_memory(self) -> bool:
        """Whether batches are page-locked where there is a GPU."""
        return True

    def held(self) -> AbstractContextManager[None]:
        """Hold what must be held before anything is read; nothing where the folder depends on what is restored."""
        return nullcontext()

    def restored(self) -> Restored | None:
        """Read the checkpoint that the caller names."""
        restore = self.asked.restore
        return None if restore is None else open_checkpoint(restore, self.asked.checkpoint_root)

    def config_changes(self, restored: Restored) -> list[str]:
        """List what changed, and refuse it unless the caller allows it."""
        return changed_config(restored, self.config, self.adapter, allowed=self.asked.allow_config_change)

    def plan(self, restored: Restored | None) -> Plan:
        """Take the options of the caller, and of the checkpoint those that were not given."""
        options = self.asked.options or TrainOptions()
        plan = plan_training(options, self.asked.given, None if restored is None else restored.checkpoint)
        if problems := self.adapter.check(self.config, plan.options):
            raise ConfigError(problems)
        return plan

    @contextmanager
    def place(self, restored: Restored | None) -> Iterator[RunPlace]:
        """Let the first rank hold the folder that the training writes to; the others learn where it is."""
        root = self.asked.checkpoint_root
        with ExitStack() as stack:
            yield self.ranks.from_first(lambda: stack.enter_context(in_use(folder_for(restored, root))))

    def goes_on(self, restored: Restored, place: RunPlace) -> bool:
        """Whether that folder is gone on with, so that its best checkpoint counts as well."""
        home = restored.run(self.asked.checkpoint_root)
        return home is not None and home.path == place.path

    def board(self, place: RunPlace) -> Path | None:
        """Return the folder of TensorBoard's files, None for none."""
        return None if self.asked.log_dir is None else self.asked.log_dir / place.path.name

    def provenance(self, place: RunPlace, options: TrainOptions, fingerprint: Mapping[str, Any]) -> Provenance:
        """Say what explains the checkpoints."""
        adapter, config = self.adapter, self.config
        return Provenance(
            config=adapter.dump(config),
            options=attrs.asdict(options),
            points=adapter.points(config),
            num_classes=adapter.num_classes(config),
            data=adapter.roots(config),
            run=place.path.name,
            fingerprint={**fingerprint, IMAGES: self.images} if self.images else fingerprint,
            family=family_of(config).name,
            network=adapter.network(config),
        )

    def checkpointer(
        self, place: RunPlace, provenance: Provenance, plan: Plan, restored: Restored | None, steps_per_epoch: int
    ) -> Checkpointer:
        """Make what keeps the checkpoints under the family's names."""
        last = None if restored is None else own_name(restored.path, place.path)
        folder = RunFolder(place.path, self.asked.checkpoint_root)
        return RunCheckpointer(folder, provenance, plan.options.keep_last, last)

    def loggers(self, place: RunPlace, plan: Plan, steps_per_epoch: int) -> list[Sink]:
        """Write what else lies in the folder, and make the loggers that only this family has."""
        write_json(place.path / CONFIG_NAME, self.adapter.dump(self.config), in_own_folder)
        return []

    def report_folder(self, place: RunPlace) -> Path:
        """Return where the evaluation of the best checkpoint goes."""
        return place.path

    def finished(self, result: FitResult) -> None:
        """Take note that the training, or the dry run, has ended."""

    def to_evaluate(self, model: Path) -> tuple[str, ...]:
        """List the overrides by which the configuration in the folder evaluates what was trained."""
        return ()
