"""Write several files that appear together, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cogkp.errors import OutputError
from cogkp.files.origin import Ours, has_mark, in_own_folder
from cogkp.files.partial import held, partial_name, sweep
from cogkp.files.writing import make_folder, require_replaceable, sync_folder, write_bytes, writing_to


@contextmanager
def staged_folder(destination: Path) -> Iterator[Path]:
    """Lend an empty folder beside the destination that takes its place only when everything in it was written.

    After an error inside the block it is gone.

    Raises:
        OutputError: the destination holds something, or cannot be written.
    """
    destination = Path(os.path.realpath(destination))
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise OutputError(
            "the destination is not empty", where=str(destination), hint="Choose a new folder or remove this one."
        )
    with staging_in(destination.parent, destination.name) as staging:
        yield staging
        with writing_to(destination):
            staging.replace(destination)


@contextmanager
def staged_files(folder: Path, *, last: str = "", ours: Ours = has_mark) -> Iterator[Path]:
    """Lend an empty folder whose files appear in ``folder`` together, ``last`` after them, when all were written.

    Other files in ``folder`` stay. After an error inside the block the lent one is gone, and ``folder`` is untouched.
    ``ours`` says whether a file that lies there may be replaced.

    Raises:
        OutputError: the folder cannot be written, or holds a file of such a name that this program did not write.
    """
    with staging_in(make_folder(folder)) as staging:
        yield staging
        written = sorted(staging.iterdir(), key=lambda path: (path.name == last, path.name))
        require_replaceable([folder / path.name for path in written], ours)
        with writing_to(folder):
            for path in written:
                _move(path, folder / path.name)
            sync_folder(folder)


def _move(path: Path, target: Path) -> None:
    """Rename a file; what leads elsewhere, perhaps to another disk, is followed by copying."""
    if target.is_symlink() or (target.exists() and not target.is_file()):
        write_bytes(target, path.read_bytes(), in_own_folder)
    else:
        path.replace(target)


@contextmanager
def staging_in(parent: Path, name: str = "files") -> Iterator[Path]:
    """Lend an empty folder that is gone after the block, or, where the process dies, when the next one comes."""
    with writing_to(parent / name):
        make_folder(parent)
        sweep(parent)
        staging = parent / partial_name(name, "")
        staging.mkdir()
        handle = held(staging)
    try:
        yield staging
    except OSError as error:
        raise OutputError("the folder cannot be written", where=str(parent / name), got=str(error)) from error
    finally:
        os.close(handle)
        shutil.rmtree(staging, ignore_errors=True)
