"""The report of a check of annotation files, as text and JSON."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from cogkp.data.boxes.frames import FrameFit
from cogkp.data.boxes.records import ImageRecord
from cogkp.errors import Problem, counted, printable

MOST_LINES = 20
NOTHING = "-"


@attrs.frozen(kw_only=True)
class BoxCheck:
    """How consistent one box is; None where the file does not state enough.

    Args:
        reprojection_px: largest distance between a point seen by the camera and its pixel.
        centre_px: distance between the stated place of the middle, seen by the camera, and its pixel.
        pnp_px: root mean square distance that a pose fitted to the pixels leaves; infinite where none is found.
        turn_deg: between the stated and the fitted pose, degrees.
        shift_share: between them, share of the distance from the camera.
        inside: how many of the nine points lie in the image.
        visibility: as the file says, else 1.
        compared: whether the file states anything twice, so that it could disagree with itself.
    """

    name: str
    category: str
    reprojection_px: float | None
    centre_px: float | None
    pnp_px: float | None
    turn_deg: float | None
    shift_share: float | None
    inside: int
    visibility: float
    compared: bool

    @property
    def worst_px(self) -> float:
        """The largest distance; -1 where there is none."""
        known = (self.reprojection_px, self.centre_px, self.pnp_px)
        return max((value for value in known if value is not None), default=-1.0)


@attrs.frozen
class FileCheck:
    """One file.

    Args:
        name: path within the root, without suffix.
        boxes: those that can be used.
        problems: what is wrong with them.
    """

    name: str
    boxes: tuple[BoxCheck, ...]
    problems: tuple[Problem, ...]

    @property
    def worst_px(self) -> float:
        """The largest distance in the file; -1 where there is none."""
        return max((box.worst_px for box in self.boxes), default=-1.0)


@attrs.frozen(kw_only=True)
class LabelReport:
    """A checked folder.

    Args:
        frame: how well points and pixels agree under each choice of camera axes.
        files: how many annotation files were looked at.
        checked: those that can be used, in the order of their paths.
        records: all that could be read, for drawings.
        dropped: what was left out, by reason.
        problems: all that is wrong, one line each.
        tolerance_px: largest distance that is no problem, pixels.
    """

    root: Path
    frame: FrameFit
    files: int
    checked: tuple[FileCheck, ...]
    records: tuple[ImageRecord, ...]
    dropped: Mapping[str, int]
    problems: tuple[Problem, ...]
    tolerance_px: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON but for infinite distances."""
        return {
            "root": str(self.root),
            "camera_frame": None if self.frame.declared is None else self.frame.declared.value,
            "residual_px_by_camera_frame": {frame.value: px for frame, px in self.frame.residual_px.items()},
            "files": self.files,
            "pictures": len(self.records),
            "without_camera": self._without_camera,
            "boxes": len(self._boxes),
            "compared": self.compared,
            "tolerance_px": self.tolerance_px,
            "reprojection_px": _spread([box.reprojection_px for box in self._boxes]),
            "pnp_px": _spread([box.pnp_px for box in self._boxes]),
            "turn_deg": _spread([box.turn_deg for box in self._boxes]),
            "shift_share": _spread([box.shift_share for box in self._boxes]),
            "left_out": dict(self.dropped),
            "problems": [str(problem) for problem in self.problems],
            "per_file": [
                {
                    "name": file.name,
                    "boxes": [attrs.asdict(box) for box in file.boxes],
                    "problems": [str(problem) for problem in file.problems],
                }
                for file in self.checked
            ],
        }

    @property
    def compared(self) -> int:
        """How many boxes state anything twice; where there is none, the absence of problems means nothing."""
        return sum(box.compared for box in self._boxes)

    @property
    def _without_camera(self) -> int:
        return sum(record.K is None for record in self.records)

    @property
    def _boxes(self) -> Sequence[BoxCheck]:
        return [box for file in self.checked for box in file.boxes]

    def text(self) -> str:
        """Return a summary, the files with the largest distances, and every problem."""
        lines = [*self._summary(), "", *([*self._table(), ""] if self.checked else [])]
        lines += [f"left out {count} times: {reason}" for reason, count in self.dropped.items()]
        if unknown := self._without_camera:
            have, them = ("have", "them") if unknown > 1 else ("has", "it")
            lines.append(
                f"{unknown} of {counted(len(self.records), 'image')} {have} no camera: "
                f"evaluate and the validation of a training refuse {them}"
            )
        lines += [f"problem: {problem}" for problem in self.problems]
        lines.append(self._verdict())
        return "\n".join(map(printable, lines))

    def _verdict(self) -> str:
        boxes = counted(len(self._boxes), "box", "es")
        if self.problems:
            return counted(len(self.problems), "problem")
        if not self.compared:
            return (
                f"nothing was compared: of {boxes} none has projected_cuboid and intrinsics, "
                "and beside them scale, location or keypoints_3d"
            )
        if self.compared < len(self._boxes):
            return f"no problems in {self.compared} of {boxes}; the others state nothing twice"
        return "no problems: the files agree"

    def _summary(self) -> list[str]:
        frame = NOTHING if self.frame.declared is None else self.frame.declared.value
        files, boxes = counted(self.files, "file"), counted(len(self._boxes), "box", "es")
        head = f"{self.root}: {files}, {boxes}, camera_frame {frame}"
        classes = Counter(box.category for box in self._boxes)
        if len(classes) > 1:
            head += "; classes: " + ", ".join(f"{name} {count}" for name, count in classes.most_common())
        if not self.checked:
            return [head]
        return [
            head,
            self._distances("points seen by the camera, distance to their pixels", "reprojection_px"),
            *(
                [self._distances("middle seen by the camera, distance to its pixel", "centre_px")]
                if any(box.centre_px is not None for box in self._boxes)
                else []
            ),
            self._distances("pose fitted to the pixels, distance that is left", "pnp_px"),
        ]

    def _distances(self, words: str, key: str) -> str:
        spread = _spread([getattr(box, key) for box in self._boxes])
        if spread is None:
            return f"{words}: unknown, the files do not say enough"
        return (
            f"{words}: median {spread['median']:.3g} px, largest {spread['largest']:.3g} px "
            f"over {counted(spread['count'], 'box', 'es')}"
        )

    def _table(self) -> list[str]:
        """One line per file, the worst first."""
        ranked = sorted(self.checked, key=lambda file: (-len(file.problems), -file.worst_px, file.name))
        shown = ranked[:MOST_LINES]
        width = max([len(file.name) for file in shown], default=4)
        head = f"{'file':<{width}}  boxes  seen px   fit px  inside  problems"
        rows = [
            f"{file.name:<{width}}  {len(file.boxes):>5}  {_largest(file, 'reprojection_px'):>7}  "
            f"{_largest(file, 'pnp_px'):>7}  {sum(box.inside for box in file.boxes):>6}  {len(file.problems):>8}"
            for file in shown
        ]
        more = len(ranked) - len(shown)
        return [
            head,
            *rows,
            *([f"... and {counted(more, 'file')} with smaller distances; --json names all"] if more else []),
        ]


def _largest(file: FileCheck, key: str) -> str:
    values = [value for box in file.boxes if (value := getattr(box, key)) is not None]
    return f"{max(values):.3f}" if values else NOTHING


def _spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Sum up what is known; infinite distances count in the largest alone."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    finite = [value for value in known if math.isfinite(value)]
    return {
        "count": len(known),
        "median": float(np.median(finite)) if finite else math.inf,
        "largest": max(known),
    }
