"""Lock the results folder of a verb, and write ``experiment.yaml`` and ``status.json``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cogkp.artifacts.lock import locked
from cogkp.artifacts.status import StatusLog
from cogkp.config.centerpose import rules
from cogkp.config.centerpose.io import write_experiment
from cogkp.config.centerpose.results import Results, results_of
from cogkp.config.centerpose.spec import CenterPoseConfig, Verb
from cogkp.errors import CogkpError, ConfigError
from cogkp.files import make_folder

__all__ = ["AtWork", "at_work"]


class AtWork(NamedTuple):
    """A locked results folder.

    Args:
        results: where files go.
        status: gets the beginning, and a failure; the verb itself adds its result.
    """

    results: Results
    status: StatusLog


@contextmanager
def at_work(config: CenterPoseConfig, verb: Verb) -> Iterator[AtWork]:
    """Hold the folder of a verb's results; ``experiment.yaml`` and ``status.json`` are written.

    Raises:
        ConfigError: the experiment does not fit together, or names no folder of results.
        OutputError: the folder cannot be written, or another process holds it.
    """
    if problems := rules.check(config, verb):
        raise ConfigError(problems)
    results = results_of(config, verb)
    make_folder(results.path)
    with locked(results.path):
        write_experiment(results.experiment, config)
        status = StatusLog(results.status)
        status.write("STARTED", f"{verb} begins")
        try:
            yield AtWork(results, status)
        except CogkpError as error:
            status.write("FAILURE", str(error), verbosity="ERROR")
            raise
        except KeyboardInterrupt:
            status.write("FAILURE", f"{verb} was interrupted", verbosity="WARNING")
            raise
        except BaseException as error:
            status.write("FAILURE", f"{verb} failed: {type(error).__name__}", verbosity="CRITICAL")
            raise
