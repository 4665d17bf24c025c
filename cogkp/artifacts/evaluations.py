"""Read and write ``evaluation.json``, and find the evaluations of a run.

``evaluation.json`` holds what was measured, on what, with what, and the errors frame by frame, so that another
evaluation can be compared with it years later. Its format is counted: a reader refuses what is newer than itself.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cogkp.errors import ArtifactError
from cogkp.files import (
    MARK,
    has_mark,
    is_json_with,
    json_text,
    read_whole,
    require_replaceable,
    staged_files,
    write_text,
)

EVALUATION_NAME = "evaluation.json"
PAGE_NAME = "report.html"
WRITTEN = (EVALUATION_NAME, PAGE_NAME, "predictions.png", "predictions_3d.png", "report.txt", "report.csv")
MARKED_SUFFIXES = (".html", ".png", ".jpg")
FORMAT_VERSION = 2
EVIDENCE = "per_frame"
PARTS: dict[str, type] = {
    **dict.fromkeys(("checkpoint", "split", "prefix", "created"), str),
    **dict.fromkeys(("config", "training.config", "training.options", "training.data", "versions", "machine"), dict),
    "training.epochs": int,
    "data": list,
}
"""What a comparison reads beside the errors; dots lead into objects."""

EVALUATE = "Measure it again: s6 cog evaluate --restore CHECKPOINT."


def write_evaluation(path: Path, content: Mapping[str, Any], evidence: Mapping[str, Any]) -> None:
    """Write the document (no NaN); the errors frame by frame come last, one line, since nobody reads them by eye.

    Raises:
        OutputError: it cannot be written.
    """
    whole = json_text({"format_version": FORMAT_VERSION, "generator": MARK, **content}, indent=2)
    last = json_text(evidence, separators=(",", ":"))
    write_text(path, f'{whole[:-2]},\n  "{EVIDENCE}": {last}\n}}\n', is_evaluation_file)


def is_evaluation_file(path: Path) -> bool:
    """Say whether a file is one that an evaluation wrote: by its mark, else by the document that it is or lies beside.

    Text and tables have no room for a mark, and earlier releases marked nothing, not even the document.
    """
    if has_mark(path):
        return True
    document = path.with_name(EVALUATION_NAME)
    if not document.is_file() or (path.suffix in MARKED_SUFFIXES and has_mark(document)):
        return False
    return is_json_with(document, "format_version", "overall")


def require_evaluation_folder(folder: Path) -> None:
    """Refuse before the work what :func:`evaluation_files` would refuse after it.

    Raises:
        OutputError: the folder holds a file that an evaluation would replace and this program did not write.
    """
    require_replaceable((folder / name for name in WRITTEN), is_evaluation_file)


@contextmanager
def evaluation_files(folder: Path) -> Iterator[Path]:
    """Lend a folder for all that an evaluation writes; its files appear in ``folder`` together.

    A reader that finds the document finds the page, too, also where the evaluation was killed.

    Raises:
        OutputError: the folder cannot be written, or holds a file of such a name that this program did not write.
    """
    with staged_files(folder, last=EVALUATION_NAME, ours=is_evaluation_file) as staging:
        yield staging


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read the document back; raises ArtifactError where it cannot be read, is none of ours, or of another format."""
    try:
        found = json.loads(read_whole(path, None))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no JSON"
        raise ArtifactError("an evaluation cannot be read", where=str(path), got=reason, hint=EVALUATE) from error
    if not isinstance(found, dict) or "overall" not in found:
        raise ArtifactError("this is no evaluation", where=str(path), expected=f"an {EVALUATION_NAME}", hint=EVALUATE)
    version = found.get("format_version", 1)
    if version != FORMAT_VERSION or not isinstance(found.get(EVIDENCE), dict):
        raise ArtifactError(
            "this evaluation has another format",
            where=str(path),
            expected=f"format {FORMAT_VERSION}, with errors frame by frame",
            got=f"format {version}",
            hint=EVALUATE if version in (1, FORMAT_VERSION) else "Use the release that wrote it, or a newer one.",
        )
    missing = [name for name, kind in PARTS.items() if not isinstance(_part(found, name), kind)]
    if missing:
        raise ArtifactError("an evaluation is damaged", where=str(path), expected=", ".join(missing), hint=EVALUATE)
    return found


def _part(document: Any, name: str) -> Any:
    for step in name.split("."):
        document = document.get(step) if isinstance(document, dict) else None
    return document


def find_evaluations(named: str, root: Path) -> list[Path]:
    """List the evaluations that a word stands for, newest first; raises ArtifactError where there are none.

    It names an evaluation's file, a folder that holds some, a run folder, or a run by its name below ``root``.
    """
    path = Path(named) if Path(named).exists() else root / named
    if path.is_file() and path.suffix == ".json":
        return [path]
    if path.is_file():
        raise ArtifactError("this is no evaluation", where=str(path), expected=f"an {EVALUATION_NAME}", hint=EVALUATE)
    if not path.is_dir():
        raise ArtifactError(
            "there is no such run", where=named, expected=f"a run folder, an {EVALUATION_NAME} or a name under {root}"
        )
    found = [*path.glob(EVALUATION_NAME), *path.glob(f"*/{EVALUATION_NAME}")]
    if not found:
        hint = f"Measure it first: s6 cog evaluate --restore {path}."
        raise ArtifactError("nothing was evaluated here yet", where=str(path), hint=hint)
    return sorted(found, key=lambda file: (_created(file), str(file)), reverse=True)


def _created(path: Path) -> tuple[str, int]:
    """Say when an evaluation was made, as it says itself; the time of the file is that of a copy, perhaps."""
    try:
        created = json.loads(read_whole(path, None))["created"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        created = ""
    return (created if isinstance(created, str) else "", path.stat().st_mtime_ns)
