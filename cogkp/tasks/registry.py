"""Which task belongs to which configuration class: the one place that knows every family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cogkp.config.centerpose.spec import CenterPoseConfig
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.errors import CogkpError
from cogkp.tasks.base import Task
from cogkp.tasks.centerpose.task import CenterPoseTask
from cogkp.tasks.keypoint.task import KeypointTask

__all__ = ["TASKS", "build_task"]

TASKS: dict[type, Callable[[Any], Task]] = {KeypointConfig: KeypointTask, CenterPoseConfig: CenterPoseTask}


def build_task(config: Any) -> Task:
    """Build the task of a configuration; its network has fresh weights.

    Raises:
        CogkpError: no family uses this class of configuration.
    """
    family = TASKS.get(type(config))
    if family is None:
        known = ", ".join(kind.__name__ for kind in TASKS)
        raise CogkpError("no task for this kind of configuration", expected=known, got=type(config).__name__)
    return family(config)
