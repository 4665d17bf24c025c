"""Lock the results folder of a verb, and write ``experiment.yaml`` and ``status.json``."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from cogkp.artifacts.checkpoint import is_checkpoint_file
from cogkp.artifacts.runs import METRICS_NAME, RECORD_NAME, TABLE_NAME, locked
from cogkp.artifacts.status import StatusLog
from cogkp.config.centerpose import rules
from cogkp.config.centerpose.io import write_experiment
from cogkp.config.centerpose.results import Results, results_of
from cogkp.config.centerpose.spec import CenterPoseConfig, Verb
from cogkp.errors import CogkpError, ConfigError
from cogkp.files import has_mark, in_own_folder, make_folder, require_replaceable
from cogkp.training.distributed import Ranks

OUR_NAMES = ("experiment.yaml", "status.json", RECORD_NAME, METRICS_NAME, TABLE_NAME)
EARLIER_START, EARLIER_KEY = b"model_name: ", b"\n  camera_frame: "
OUR_CHECKPOINTS = ("centerpose_model_*.pth", "model_epoch_*.pth")


class AtWork(NamedTuple):
    """A locked results folder, and its log, which gets the beginning and a failure; the verb itself adds its result."""

    results: Results
    status: StatusLog


def _require_own(results: Results) -> None:
    """Refuse a folder whose files of our names somebody else wrote, as another program does.

    The experiment bears our mark. Earlier releases set none: theirs lists every key in order, one of which no other
    program knows; their folder may also hold a checkpoint alone.
    """
    newest = results.checkpoint
    if newest.is_file() and is_checkpoint_file(newest):
        return
    if results.experiment.is_file() and _is_ours(results.experiment):
        return
    named = [results.path / name for name in OUR_NAMES]
    found = [path for pattern in OUR_CHECKPOINTS for path in results.path.glob(pattern)]
    require_replaceable([*named, *found], lambda _: False)


def _is_ours(experiment: Path) -> bool:
    if has_mark(experiment):
        return True
    text = experiment.read_bytes()
    return text.startswith(EARLIER_START) and EARLIER_KEY in text


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
        _require_own(results)
        write_experiment(results.experiment, config, in_own_folder)
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


@contextmanager
def first_at_work(config: CenterPoseConfig, verb: Verb, ranks: Ranks) -> Iterator[AtWork | None]:
    """Let the first rank hold the folder, as :func:`at_work` does, before any other goes on; None on the others."""
    with ExitStack() as stack:
        held: list[AtWork] = []
        ranks.from_first(lambda: held.append(stack.enter_context(at_work(config, verb))))
        yield held[0] if held else None
