"""Where results go: names of files and folders, apart from what is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import attrs

from cogkp.artifacts.names import timestamp
from cogkp.errors import OutputError, closest

FORMATS = {"jsonl": ".jsonl", "csv": ".csv", "deeplabcut": ".csv", "coco": ".json"}
"""Forms of results, and what their files end in."""
USUAL = {".jsonl": "jsonl", ".csv": "csv", ".json": "coco"}
"""The form that an ending stands for."""
IN_PARTS = ("jsonl", "csv", "deeplabcut")
"""Forms whose parts join by concatenation."""


@attrs.frozen(eq=False)
class OutputPlan:
    """Where results go.

    Args:
        output: a file, a stream, or the folder of a StructuredDataset.
        format: a key of FORMATS, or 'labels'.
        drawings: folder of drawings.
        part: (k, n), of n parts the k-th.
    """

    output: Path | TextIO
    format: str
    drawings: Path
    part: tuple[int, int]


def planned(
    output: Path | str | TextIO | None, wanted: str | None, labels: bool, part: tuple[int, int] = (1, 1)
) -> OutputPlan:
    """Decide where results go, and in which form.

    Raises:
        OutputError: the form is unknown, is not that of the file's ending, or cannot be written in parts.
    """
    if wanted is not None and wanted not in FORMATS:
        raise OutputError("unknown format", expected=", ".join(FORMATS), got=wanted, hint=closest(wanted, FORMATS))
    if output is not None and not isinstance(output, Path | str):
        return _stream(output, wanted, labels, part)
    word = f"-{part[0]:0{len(str(part[1]))}d}of{part[1]}" if part[1] > 1 else ""
    if labels:
        folder = Path(f"labels-{timestamp()}" if output is None else output)
        folder = folder.with_name(folder.name + word)
        return OutputPlan(folder, "labels", folder.with_name(f"{folder.name}-drawn"), part)
    form = wanted or "jsonl"
    path = Path(f"predictions-{timestamp()}{FORMATS[form]}" if output is None else output)
    if path.is_dir() or not path.suffix:
        path = path / f"predictions{FORMATS[form]}"
    form = wanted or USUAL.get(path.suffix.lower(), "")
    if not form or path.suffix.lower() != FORMATS[form]:
        expected = ", ".join(f"{each} for {name}" for name, each in FORMATS.items()) + ", or a folder"
        raise OutputError("the ending is not that of the format", where=str(path), expected=expected, got=path.suffix)
    if part[1] > 1 and form not in IN_PARTS:
        raise OutputError("this format cannot be written in parts", expected=", ".join(IN_PARTS), got=form)
    path = path.with_name(f"{path.stem}{word}{path.suffix}")
    return OutputPlan(path, form, path.with_name(f"{path.stem}-drawn"), part)


def _stream(output: TextIO, wanted: str | None, labels: bool, part: tuple[int, int]) -> OutputPlan:
    if labels or wanted not in (None, "jsonl"):
        got = "labels" if labels else str(wanted)
        raise OutputError("only lines of JSON can be written to a stream", expected="jsonl", got=got)
    return OutputPlan(output, "jsonl", Path(f"predictions-{timestamp()}-drawn"), part)


def require_outside(results: Path, places: Sequence[Path]) -> None:
    """Refuse drawings among what is looked at, or over it: the next run would find them there; raises OutputError."""
    resolved = results.resolve()
    for place in places:
        looked_at = place.resolve()
        among = looked_at.is_dir() and looked_at in (resolved, *resolved.parents)
        if among or resolved in looked_at.parents:
            raise OutputError(
                "drawings would be written among the images",
                where=str(results),
                expected=f"a folder outside of {place}",
                hint="Give another --output.",
            )
