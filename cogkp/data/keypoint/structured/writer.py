"""Write StructuredDatasets: images in one folder per datakey, then ``data.jsonl``.

Everything is written into a hidden folder first and moved into place at the end, so that neither an error nor a full
disk leaves half a data set behind.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cogkp.data.keypoint.structured.reader import LINES_FILE
from cogkp.data.keypoint.structured.recorder import Recorder
from cogkp.errors import DataError, OutputError
from cogkp.files import staging_in, writing_to


def write_structured(
    root: Path | str, lines: Iterable[Mapping[str, Any]], *, suffix: str = ".png", replace: bool = False
) -> int:
    """Write a data set.

    Args:
        root: its folder; made if it does not exist. Other files in it are left alone.
        lines: one mapping per frame record, nested as wished. Leaves that are uint8 or uint16 arrays, (H, W) or
            (H, W, 3) RGB, become images named after their datakey and line, ``LL.image/000012.png``; leaves that are
            paths are copied byte for byte; all others become JSON, where NaN and infinity turn into null, not labelled.
        suffix: file format of colour images. Single-channel arrays may be masks: they are always PNG, as 16 bits are.
        replace: whether an existing data set may be replaced. It stays valid until the new one is complete.

    Returns:
        How many lines were written.

    Raises:
        DataError: a value cannot be stored, or there are no lines.
        OutputError: there is a data set already, a folder of somebody else, or the folder cannot be written.
    """
    root = Path(root)
    if (root / LINES_FILE).exists() and not replace:
        raise OutputError(
            "there is a data set already", where=str(root), hint="Choose another folder, or ask for replacement."
        )
    made = not root.exists()
    try:
        with staging_in(root) as staging:
            count = _write_lines(staging, lines, suffix)
            _move_into(root, staging)
    finally:
        if made and root.is_dir() and not any(root.iterdir()):
            root.rmdir()
    return count


def _write_lines(staging: Path, lines: Iterable[Mapping[str, Any]], suffix: str) -> int:
    with Recorder(staging, suffix=suffix) as recorder:
        count = sum(1 for _ in map(recorder.add_line, lines))
    if not count:
        raise DataError("there are no lines to write", where=str(staging.parent))
    return count


def _move_into(root: Path, staging: Path) -> None:
    """Let the old lines go first and the new ones come last: no moment shows old lines over new images."""
    written = sorted(staging.iterdir(), key=lambda entry: entry.name == LINES_FILE)
    lines = root / LINES_FILE
    foreign = [] if lines.exists() else [root / entry.name for entry in written if (root / entry.name).exists()]
    if foreign:
        raise OutputError("there is a folder of no data set", where=str(foreign[0]), hint="Choose another folder.")
    with writing_to(root):
        lines.unlink(missing_ok=True)
        for entry in written:
            target = root / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            entry.replace(target)
