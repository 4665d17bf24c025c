"""Build the task of a configuration."""

from typing import Any

from cogkp.families import family_of
from cogkp.tasks.base import Task


def build_task(config: Any) -> Task:
    """Build the task of a configuration, with fresh weights; raises CogkpError where no family uses its class."""
    task: Task = family_of(config).part("task")(config)
    return task
