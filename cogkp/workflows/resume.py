"""Check a resumed training: has its configuration, its data or its folder changed?"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cogkp.artifacts.checkpoint import is_checkpoint_file
from cogkp.artifacts.restore import Restored, was_left_behind
from cogkp.artifacts.runs import CHECKPOINT_NAME, RunFolder, continue_run, create_run
from cogkp.config.plain import plain_differences
from cogkp.data.fingerprint import changes
from cogkp.errors import CheckpointError, ConfigError
from cogkp.files import require_replaceable

__all__ = ["changed_config", "changed_data", "folder_for", "without_best"]

MOST_SHOWN = 20

log = logging.getLogger("cogkp")


def changed_config(restored: Restored, config: Any, adapter: Any, *, allowed: bool) -> list[str]:
    """List what changed in the configuration since a checkpoint was saved, and refuse it where nobody asked for it.

    Args:
        restored: knows the configuration it was trained with.
        config: that of today.
        adapter: of its family.
        allowed: whether a changed one shall be trained with.

    Raises:
        CheckpointError: something changed and ``allowed`` is false; every change is named.
    """
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
    """List what changed in the data since a checkpoint was saved, and warn of it.

    Args:
        restored: knows the fingerprint of its data.
        fingerprint: that of today, by split.
    """
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
