"""The parts of a training that a family may change: checkpoint, plan, folder, loggers.

:class:`TrainingJob` is what most families need: a run folder under a root of checkpoints, options from the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import attrs
import torch

from cogkp.artifacts.checkpoint import Provenance
from cogkp.artifacts.restore import Restored, open_checkpoint
from cogkp.artifacts.runs import CONFIG_NAME, RunFolder, in_use, own_name
from cogkp.config.train import TrainOptions
from cogkp.errors import ConfigError
from cogkp.families import family_of
from cogkp.files import in_own_folder, write_json
from cogkp.training.checkpointer import Checkpointer, RunCheckpointer
from cogkp.training.distributed import Ranks
from cogkp.training.plan import Plan, plan_training
from cogkp.training.sinks import Sink
from cogkp.training.trainer import FitResult
from cogkp.workflows.resume import changed_config, folder_for

__all__ = ["CHECKPOINT_ROOT", "LOG_DIR", "RunPlace", "TrainingJob", "TrainingRequest"]

CHECKPOINT_ROOT = Path("checkpoints")
LOG_DIR = Path("logs/cog")


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
    """One training; ``train`` calls its methods in the order they stand here.

    Args:
        adapter: of the family, a :class:`cogkp.workflows.adapter.Adapter`.
        config: what is trained.
        asked: what the caller asked for beside it.
        ranks: the processes that train together.
    """

    adapter: Any
    config: Any
    asked: TrainingRequest
    ranks: Ranks

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
            fingerprint=fingerprint,
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
