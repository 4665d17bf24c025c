"""Check annotation files for consistency: pixels, 3-D points, poses, sizes and intrinsics must agree.

What a file derives from another of its numbers agrees by construction, so only what it states is compared.

A cube looks the same after 48 changes of its axes: six orders of x, y, z, each with either sign. Half of them are
turns, the other half turns seen in a mirror.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cogkp.config.images import AS_STORED, ImageFiles
from cogkp.data.boxes.box_fields import image_problem
from cogkp.data.boxes.frames import PIXEL_KEY, centre_px, reprojection_px
from cogkp.data.boxes.reader import scan_objectron
from cogkp.data.boxes.records import BoxRecord, ImageRecord
from cogkp.data.boxes.report import BoxCheck, FileCheck, LabelReport
from cogkp.errors import Problem
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid import UNIT_POINTS, fit_cuboids
from cogkp.geometry.pnp import solve_cuboids
from cogkp.progress import SILENT, Progress

FloatArray = npt.NDArray[np.float64]


ALIKE_PX = 1e-3
ALIKE_SHARE = 1e-6

MIDDLE_LAST = (8, 0, 1, 2, 3, 4, 5, 6, 7)
"""Where the middle and the corners stand in files that name the middle last."""

TOLERANCE_PX = 2.0
"""Distances up to this are taken for rounding and for the hand of a labeller."""

TOLERANCE_SHARE = 0.01
"""The same for lengths, shares of the box's diagonal."""

CORNERS = np.array(UNIT_POINTS)
ORDERS_TRIED = 5
UPRIGHT = 0.5
"""Share of the boxes whose y axis must be the one nearest to up."""


class Order(NamedTuple):
    """A way to number the nine points.

    Args:
        points: (9,) which of the file's points stands at each place.
        mirrored: whether it turns a right hand into a left one.
    """

    points: tuple[int, ...]
    mirrored: bool

    def __str__(self) -> str:
        if self.points == MIDDLE_LAST:
            return "The middle stands last; it comes first, before the eight corners."
        kind = "numbered as in a mirror" if self.mirrored else "numbered with other axes"
        middle = "" if self.points[0] == 0 else "the middle stands last, "
        return f"The corners are {kind}; {middle}in the order {list(self.points)[middle == '' :]} they fit."


def _orders() -> tuple[Order, ...]:
    signs = np.sign(np.array(UNIT_POINTS))
    places = {tuple(row): index for index, row in enumerate(signs.tolist())}
    found = []
    for axes in permutations(range(3)):
        for sides in product((1.0, -1.0), repeat=3):
            change = np.zeros((3, 3))
            change[range(3), axes] = sides
            moved = (signs @ change.T).tolist()
            found.append(Order(tuple(places[tuple(row)] for row in moved), bool(np.linalg.det(change) < 0)))
    return tuple(found)


ORDERS = _orders()
"""All 48, the field's own first."""

TRIED = (*ORDERS, *(Order(tuple(MIDDLE_LAST[place] for place in order.points), order.mirrored) for order in ORDERS))
"""The same again with the middle behind the corners, as other programs write it."""


def _first_of_the_best(left: FloatArray, alike: float) -> int:
    """Choose the first of the orders that fit alike: turns of the object by half a circle often do."""
    return int(np.argmax(left <= left.min() + alike))


def best_order_of_pixels(uv: FloatArray, size_xyz: FloatArray, K: FloatArray) -> tuple[Order, float]:
    """Find the numbering under which nine pixels are those of a box with given sides, true or in any unit.

    Returns:
        The order and the root mean square distance that is left, pixels; infinite where none gives a pose.
    """
    tried = np.stack([uv[list(order.points)][1:] for order in TRIED])
    found = solve_cuboids(tried, np.broadcast_to(size_xyz, (len(TRIED), 3)), K)
    residual = np.where(found.valid, found.residual_px, np.inf)
    best = _first_of_the_best(residual, ALIKE_PX)
    return TRIED[best], float(residual[best])


def best_order_of_points(xyz: FloatArray) -> tuple[Order, float]:
    """Find the numbering under which nine points of space are middle and corners of a box.

    Returns:
        The order and the root mean square distance that is left, shares of the box's diagonal.
    """
    fit = fit_cuboids(np.stack([xyz[list(order.points)] for order in TRIED]))
    diagonal = np.linalg.norm(fit.cuboids.size_xyz, axis=-1)
    share = np.where(fit.valid, fit.residual / np.maximum(diagonal, 1e-300), np.inf)
    best = _first_of_the_best(share, ALIKE_SHARE)
    return TRIED[best], float(share[best])


def check_root(
    root: Path | str,
    *,
    camera_frame: CameraFrame | None = None,
    intrinsics: FloatArray | None = None,
    files: ImageFiles = AS_STORED,
    tolerance_px: float = TOLERANCE_PX,
    progress: Progress = SILENT,
) -> LabelReport:
    """Check every labelled image of a folder; nothing ends the check but a folder that is not there (DataError).

    ``camera_frame`` None takes the axes that each file names, else those of Objectron; ``intrinsics`` (3, 3), pixels,
    are for images whose file has none; ``files`` says how images are read; ``tolerance_px`` is the largest distance
    that is no problem.
    """
    scan = scan_objectron(root, camera_frame=camera_frame, intrinsics=intrinsics, files=files)
    problems = list(scan.problems)
    if not scan.files:
        problems.append(Problem("there are no labelled images", str(root), "images with a JSON file beside them"))
    wrong_frame = scan.frame.better is not None
    # Under wrong axes nothing in space is true, and to say so box by box would hide the one line that helps.
    checked = () if wrong_frame else check_images(scan.index.records, tolerance_px)
    problems += [problem for file in checked for problem in file.problems]
    problems += _undecodable(scan.index.records, progress)
    if not wrong_frame and (problem := _lying(scan.index.records, str(root))) is not None:
        problems.append(problem)
    return LabelReport(
        root=Path(root),
        frame=scan.frame,
        files=scan.files,
        checked=checked,
        records=scan.index.records,
        dropped=scan.index.dropped,
        problems=tuple(problems),
        tolerance_px=tolerance_px,
    )


def _undecodable(records: Sequence[ImageRecord], progress: Progress) -> Iterator[Problem]:
    with progress.work("checking", len(records)) as step:
        for record in records:
            problem = image_problem(record.image)
            if problem is not None:
                yield problem
            step.advance()


def check_images(records: Sequence[ImageRecord], tolerance_px: float = TOLERANCE_PX) -> tuple[FileCheck, ...]:
    """Check records; distances up to ``tolerance_px`` are no problem."""
    fits = _fitted(records)
    tries = iter(range(ORDERS_TRIED))
    files = []
    for record in records:
        boxes, problems = list[BoxCheck](), list[Problem]()
        for box in record.boxes:
            pose, residual = fits.get(id(box), (None, None))
            problems += _problems(box, record, residual, tolerance_px, tries)
            boxes.append(_measured(box, record, pose, residual))
        files.append(FileCheck(record.name, tuple(boxes), tuple(problems)))
    return tuple(files)


def _fitted(records: Sequence[ImageRecord]) -> dict[int, tuple[FloatArray | None, float]]:
    """Fit the pose of each box to its pixels, sizes and camera; with the remaining error, infinite without a pose."""
    known = [
        (box, record.K, box.size_xyz)
        for record in records
        for box in record.boxes
        if record.K is not None and box.size_xyz is not None and PIXEL_KEY in box.given
    ]
    if not known:
        return {}
    boxes, cameras, sizes = zip(*known, strict=True)
    uv = np.stack([box.uv_source[1:] for box in boxes])
    found = solve_cuboids(uv, np.stack(sizes), np.stack(cameras))
    poses, residuals, valid = found.cuboids.cuboid_to_camera, found.residual_px.tolist(), found.valid.tolist()
    return {
        id(box): (poses[index], residuals[index]) if valid[index] else (None, math.inf)
        for index, box in enumerate(boxes)
    }


def _measured(box: BoxRecord, record: ImageRecord, pose: FloatArray | None, residual_px: float | None) -> BoxCheck:
    turn, shift = _between(pose, box.cuboid_to_camera)
    seen, centre = _seen_px(box, record), _centre_px(box, record)
    return BoxCheck(
        name=box.name,
        category=box.category,
        reprojection_px=seen,
        centre_px=None if centre is None else centre[0],
        pnp_px=residual_px,
        turn_deg=turn,
        shift_share=shift,
        inside=int(_inside(box.uv_source, record.size_wh).sum()),
        visibility=box.visibility,
        compared="keypoints_3d" in box.given or any(each is not None for each in (seen, centre, residual_px)),
    )


def _seen_px(box: BoxRecord, record: ImageRecord) -> float | None:
    return None if record.K is None else reprojection_px(box, record.K)


def _centre_px(box: BoxRecord, record: ImageRecord) -> tuple[float, int, float] | None:
    """Compare the stated middle alone, where no other points of space tell as much."""
    return None if record.K is None or _seen_px(box, record) is not None else centre_px(box, record.K)


def _inside(uv: FloatArray, size_wh: tuple[int, int]) -> npt.NDArray[np.bool_]:
    half = 0.5 * np.array(size_wh)
    return np.asarray((abs(uv + 0.5 - half) <= half).all(-1))


def _between(first: FloatArray | None, second: FloatArray | None) -> tuple[float | None, float | None]:
    """Compare two poses: degrees, and the shift as a share of the distance; None where there are not two."""
    if first is None or second is None:
        return None, None
    cosine = 0.5 * (np.trace(first[:3, :3].T @ second[:3, :3]) - 1.0)
    shift = np.linalg.norm(first[:3, 3] - second[:3, 3]) / max(np.linalg.norm(second[:3, 3]), 1e-300)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))), float(shift)


def _problems(
    box: BoxRecord, record: ImageRecord, residual_px: float | None, tolerance_px: float, tries: Iterator[int]
) -> Iterator[Problem]:
    """Say all that is wrong with one box; searches for a better order of points are few, since they take long."""
    yield from _space_problems(box)
    error_px, centre = _seen_px(box, record), _centre_px(box, record)
    if centre is not None and centre[0] > tolerance_px:
        yield _centre_problem(box, *centre, tolerance_px)
    if error_px is not None and error_px > tolerance_px:
        yield Problem(
            "the points of space do not fall on their pixels",
            box.where,
            f"at most {tolerance_px:g} px between keypoints_3d, seen through the intrinsics, and projected_cuboid",
            _px(error_px),
        )
    if residual_px is not None and residual_px > tolerance_px:
        yield Problem(
            "no pose of the box explains its pixels",
            box.where,
            f"projected_cuboid of a box with the sides of scale, within {tolerance_px:g} px",
            _px(residual_px),
            _order_hint(box, record.K, tolerance_px) if next(tries, None) is not None else "",
        )


def _centre_problem(box: BoxRecord, distance: float, nearest: int, left_px: float, tolerance_px: float) -> Problem:
    found = f"It falls on point {nearest + 1}: the middle comes first, then the eight corners."
    return Problem(
        "the stated place does not fall on the middle's pixel",
        f"{box.where}.location",
        f"at most {tolerance_px:g} px from the first point of projected_cuboid, seen through the intrinsics",
        _px(distance),
        found if left_px <= tolerance_px else "Check location, intrinsics and camera_frame.",
    )


def _px(distance: float) -> str:
    return f"{distance:.2f} px" if math.isfinite(distance) else "none in front of the camera"


def _order_hint(box: BoxRecord, K: FloatArray | None, tolerance_px: float) -> str:
    if K is None or box.size_xyz is None:
        return ""
    order, left = best_order_of_pixels(box.uv_source, box.size_xyz, K)
    return str(order) if left <= tolerance_px else "No order of the corners fits either: check scale and intrinsics."


def _space_problems(box: BoxRecord) -> Iterator[Problem]:
    """Compare points of space with pose and sides, as far as the file states them."""
    if box.xyz_camera is None or "keypoints_3d" not in box.given:
        return
    fit = fit_cuboids(box.xyz_camera)
    sides = fit.cuboids.size_xyz
    diagonal = max(float(np.linalg.norm(sides)), 1e-300)
    if float(fit.residual) > TOLERANCE_SHARE * diagonal:
        order, left = best_order_of_points(box.xyz_camera)
        yield Problem(
            "the points of space are not middle and corners of a box",
            f"{box.where}.keypoints_3d",
            f"within {TOLERANCE_SHARE:.0%} of its diagonal",
            f"{float(fit.residual) / diagonal:.1%}",
            str(order) if left <= TOLERANCE_SHARE else "No order of the points makes a box of them.",
        )
        return
    if box.size_xyz is not None and "scale" in box.given:
        yield from _scale_problem(box, sides, box.size_xyz)
    if box.cuboid_to_camera is not None and {"location", "quaternion_xyzw"} <= box.given:
        made = (sides * CORNERS) @ box.cuboid_to_camera[:3, :3].T + box.cuboid_to_camera[:3, 3]
        apart = float(np.linalg.norm(made - box.xyz_camera, axis=-1).max()) / diagonal
        if apart > TOLERANCE_SHARE:
            yield Problem(
                "the pose does not lead to the points of space",
                f"{box.where}.quaternion_xyzw",
                f"keypoints_3d within {TOLERANCE_SHARE:.0%} of the box's diagonal",
                f"{apart:.1%}",
                "Check the order x, y, z, w, the axes, and that the pose leads from the object to the camera.",
            )


def _scale_problem(box: BoxRecord, sides: FloatArray, stated: FloatArray) -> Iterator[Problem]:
    ratio = stated / np.maximum(sides, 1e-300)
    if (abs(ratio - 1) <= TOLERANCE_SHARE).all():
        return
    hint = "Give scale as full side lengths along the object's x, y and z, in the unit of keypoints_3d."
    if np.ptp(ratio) <= TOLERANCE_SHARE * ratio.max():
        hint = f"All sides differ by the factor {ratio.mean():.4g}: another unit, or half lengths. {hint}"
    yield Problem("scale and points of space disagree", f"{box.where}.scale", _lengths(sides), _lengths(stated), hint)


def _lengths(sides: FloatArray) -> str:
    return " x ".join(f"{side:.4g}" for side in sides)


def _lying(records: Sequence[ImageRecord], where: str) -> Problem | None:
    """Report where most objects have another axis than y upwards; single ones may lie on their side."""
    known = [
        (box.cuboid_to_camera, np.array([0.0, -1.0, 0.0]) if record.ground is None else record.ground.normal)
        for record in records
        for box in record.boxes
        if box.cuboid_to_camera is not None
    ]
    if not known:
        return None
    upright = [abs(pose[:3, :3].T @ up) for pose, up in known]
    share = float(np.mean([lean[1] >= lean.max() for lean in upright]))
    if share >= UPRIGHT:
        return None
    axis = "xyz"[int(np.bincount([int(lean.argmax()) for lean in upright], minlength=3).argmax())]
    return Problem(
        "the objects do not stand on their y axis",
        where,
        "y nearest to up in most boxes",
        f"in {share:.0%} of them, mostly {axis}",
        "Number corners and sizes so that the object's y axis points up.",
    )
