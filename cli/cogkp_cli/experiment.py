"""Shared parts of the experiment commands: read the file with overrides, show progress, start processes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import cogkp
from cogkp import cli_api
from cogkp_cli.console import Console
from cogkp_cli.ranks import on_every_gpu

if TYPE_CHECKING:
    from cogkp import CenterPoseConfig
    from cogkp.cli_api import Progress

Verb = Literal["train", "evaluate", "inference", "export", "gen_trt_engine"]
Result = TypeVar("Result", covariant=True)


class Work(Protocol[Result]):
    """A verb of the library."""

    def __call__(self, config: CenterPoseConfig, *, progress: Progress) -> Result:
        """Do it."""


def open_console(as_json: bool) -> Console:
    """Open the console of a command; of several processes the first one prints."""
    return Console(as_json, silent=not cli_api.launched().first)


def run_verb(spec: Path, overrides: list[str] | None, verb: Verb, work: Work[Result]) -> Result:
    """Read an experiment for a command, and run it with a progress bar; the console is open before any warning."""
    from cogkp_cli.progress import shown_progress

    with cli_api.joined() if cli_api.launched().ranks > 1 else nullcontext():
        config = cogkp.load_config(spec, overrides or (), verb=verb)
        if verb == "train":
            on_every_gpu(config)
        with shown_progress() as progress:
            return work(config, progress=progress)
