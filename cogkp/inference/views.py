"""What a model found in images of several calibrated cameras at one moment, and the points of space behind it.

Axes: V views, N points, K samples of a line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.errors import GeometryError, ModelError, closest, printable
from cogkp.inference.lift import LEAST_VIEWS, SpacePoints, ViewCamera, lift
from cogkp.inference.processor import Prediction
from cogkp.visual.canvas import DARK, RgbImage
from cogkp.visual.marks import SpaceMarks
from cogkp.visual.overlay import draw_curves
from cogkp.visual.palette import GREY, point_colours
from cogkp.visual.space import CAPTION_BAR_PX, GAP_PX, space_plot, text_bar

if TYPE_CHECKING:
    from cogkp.geometry.camera import PinholeCamera
    from cogkp.geometry.rig import CameraRig

FloatArray = npt.NDArray[np.floating[Any]]

LEAST_CONFIDENCE = 0.2
THRESHOLD_SHARE, LEAST_THRESHOLD_PX = 0.01, 5.0
"""A view disagrees from this share of the width of its image on, but not below so many pixels."""
LINE_SAMPLES = 64
NEAREST, FARTHEST = 0.25, 1e5
"""Ends of an epipolar line, in distances between the two cameras."""
REGION_SIGMAS = 2.5


class LiftRules(NamedTuple):
    """Which pixels count, and in which unit points of space are told.

    Args:
        min_confidence: pixels of less do not count.
        max_reprojection_px: reprojection error from which a view disagrees; None takes 1 % of the image's width, at
            least 5 px.
        unit_mm: millimetres of one world unit; None tells points in world units.
    """

    min_confidence: float = LEAST_CONFIDENCE
    max_reprojection_px: float | None = None
    unit_mm: float | None = None


class ViewRig:
    """Cameras of a calibration, ready for images of any size.

    Args:
        rig: the calibration.
        where: its file, for messages.
    """

    def __init__(self, rig: CameraRig, where: str = "") -> None:
        self._rig, self._where = rig, where
        self._cameras: dict[tuple[str, tuple[int, int]], ViewCamera] = {}

    @classmethod
    def of(cls, calibration: CameraRig | ViewRig | str | os.PathLike[str]) -> ViewRig:
        """Take a rig, or read its file; see :func:`cogkp.read_calibration`."""
        if isinstance(calibration, ViewRig):
            return calibration
        if isinstance(calibration, str | os.PathLike):
            from cogkp.data.calibration import read_calibration

            path = os.fspath(calibration)
            return cls(read_calibration(path), path)
        return cls(calibration)

    def require(self, names: Sequence[str]) -> None:
        """Refuse names of views that are no cameras of the calibration; raises GeometryError."""
        for name in names:
            if name not in self._rig.names:
                raise GeometryError(
                    "the calibration has no camera of this name",
                    where=self._where,
                    expected=", ".join(self._rig.names),
                    got=name,
                    hint=closest(name, self._rig.names) or "Name the sources as the cameras are named.",
                )

    def __getitem__(self, name: str) -> PinholeCamera:
        """Return a camera of the calibration."""
        return self._rig[name]

    def only_name(self) -> str:
        """Return the name of the only camera; raises GeometryError where there are several."""
        if len(self._rig) > 1:
            raise GeometryError(
                "the calibration has several cameras",
                where=self._where,
                expected="NAME=SOURCE, which says which of them it is",
                got=", ".join(self._rig.names),
            )
        return self._rig.names[0]

    def camera(self, name: str, size_wh: tuple[int, int]) -> ViewCamera:
        """Return a camera for images of a size; raises GeometryError where it is not calibrated for them."""
        key = name, size_wh
        if key not in self._cameras:
            self._cameras[key] = ViewCamera.of(self._rig[name], size_wh, name)
        return self._cameras[key]


@attrs.frozen(eq=False, repr=False)
class ViewsPrediction:
    """What was found in several views of one moment.

    Args:
        views: the prediction in each view, by the name of its camera.
        names: of the N points.
        space: the points of space, in ``unit``; views in the order of ``views``.
        cameras: of the views.
        unit: 'mm', or 'world' for the unit of the calibration.
    """

    views: Mapping[str, Prediction]
    names: tuple[str, ...]
    space: SpacePoints
    cameras: tuple[ViewCamera, ...]
    unit: str

    @property
    def points(self) -> FloatArray:
        """(N, 3) float64 places in the world, in ``unit``; zero where not valid."""
        return self.space.xyz_world

    @property
    def covariance(self) -> FloatArray | None:
        """(N, 3, 3) float64, ``unit`` squared; zero where not valid, None where the model states none."""
        return self.space.covariance

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """(N,) where a point of space was found that its views agree on."""
        return self.space.valid

    @property
    def confidence(self) -> FloatArray:
        """(V N,) of all points in all views."""
        return np.concatenate([each.confidence for each in self.views.values()])

    def box(self, names: Sequence[str], least: float) -> None:
        """Return nothing: several views have no rectangle."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values: ``views`` by camera, ``unit``, and ``points_world``.

        Each of these has name, xyz, covariance, valid, and by camera ``reprojection_px`` and ``used``; xyz and
        covariance are None where not valid.
        """
        space = self.space
        rows = [
            {
                "name": name,
                "xyz": space.xyz_world[row].tolist() if valid else None,
                "covariance": space.covariance[row].tolist() if valid and space.covariance is not None else None,
                "valid": bool(valid),
                "reprojection_px": {
                    view: None if np.isnan(error) else float(error)
                    for view, error in zip(self.views, space.reprojection_px[:, row], strict=True)
                },
                "used": [view for view, used in zip(self.views, space.used[:, row], strict=True) if used],
            }
            for row, (name, valid) in enumerate(zip(self.names, space.valid, strict=True))
        ]
        views = {name: found.to_dict() for name, found in self.views.items()}
        return {"views": views, "unit": self.unit, "points_world": rows}

    def draw(self) -> RgbImage:
        """Draw all views with epipolar lines beside each other, and the points in space: (H, W, 3) uint8 RGB."""
        colours = point_colours(len(self.names))
        tiles = []
        for here, (name, found) in enumerate(self.views.items()):
            lines, ink = self._lines(here, colours)
            tile = draw_curves(found.draw(), lines, ink) if len(lines) else found.draw()
            tiles.append(_captioned(tile, name))
        height = max(tile.shape[0] for tile in tiles)
        plot = _captioned(self._plot(colours, max(height - CAPTION_BAR_PX, CAPTION_BAR_PX)), self._caption())
        return _beside([*tiles, plot])

    def _lines(self, here: int, colours: Sequence[Any]) -> tuple[FloatArray, list[Any]]:
        """Trace where the pixels of the other views may lie in this one: (L, K, 2) pixels, and their colours."""
        lines, ink = [], []
        for there, found in enumerate(self.views.values()):
            if there == here:
                continue
            lines.append(epipolar_lines(self.cameras[here], self.cameras[there], _points(found)))
            ink += list(colours)
        return (np.concatenate(lines) if lines else np.zeros((0, LINE_SAMPLES, 2))), ink

    def _plot(self, colours: Sequence[Any], size_px: int) -> RgbImage:
        space = self.space
        if not space.valid.any():
            return np.full((size_px, size_px, 3), DARK, np.uint8)
        region = np.zeros((len(self.names), 3, 3)) if space.covariance is None else space.covariance * REGION_SIGMAS**2
        marks = SpaceMarks(
            name="",
            point_names=self.names,
            views=(),
            xyz_true=space.xyz_world,
            known=space.valid,
            xyz_found=space.xyz_world,
            found=space.valid,
            region=region,
            segments=(),
            world_to_view=self.cameras[0].world_to_camera[:, :3],
            unit=self.unit,
        )
        return space_plot(marks, colours, size_px)

    def _caption(self) -> str:
        lost = [name for name, valid in zip(self.names, self.space.valid, strict=True) if not valid]
        return f"space, {self.unit}" + (f"; not found: {', '.join(lost)}" if lost else "")

    def __repr__(self) -> str:
        rows = zip(self.names, self.space.xyz_world.tolist(), self.space.valid, strict=True)
        points = ", ".join(
            f"{printable(name)} ({x:.4g}, {y:.4g}, {z:.4g})" if valid else f"{printable(name)} not found"
            for name, (x, y, z), valid in rows
        )
        return f"<{', '.join(map(printable, self.views))}: {points} {self.unit}>"


def lifted(views: Mapping[str, Prediction], rig: ViewRig, rules: LiftRules) -> ViewsPrediction:
    """Find the points of space behind what a model found in several views.

    Args:
        views: predictions of points, by the names of cameras.
        rig: the calibration; it may have more cameras.
        rules: which pixels count, and the unit.

    Returns:
        Predictions and points; none is valid where there is one view only.

    Raises:
        GeometryError: the calibration has no such camera, or is for images of another shape.
        ModelError: the model finds objects, and no points.
    """
    found = list(views.values())
    names: tuple[str, ...] = getattr(found[0], "names", ())
    if not names:
        raise ModelError("the model finds no named points, which views could share", expected="a model of points")
    cameras = tuple(rig.camera(name, each.size_wh) for name, each in views.items())  # type: ignore[attr-defined]
    uv = np.stack([_points(each) for each in found])
    stated = [getattr(each, "covariance", None) for each in found]
    known = [each.astype(np.float64) for each in stated if each is not None]
    spread = np.stack(known) if len(known) == len(stated) else None
    seen = np.stack([each.confidence >= rules.min_confidence for each in found])
    width = max(each.size_wh[0] for each in found)  # type: ignore[attr-defined]
    threshold = rules.max_reprojection_px or max(THRESHOLD_SHARE * width, LEAST_THRESHOLD_PX)
    space = lift(cameras, uv, spread, seen, threshold)
    if rules.unit_mm is not None:
        space = space.scaled(rules.unit_mm)
    return ViewsPrediction(views, names, space, cameras, "world" if rules.unit_mm is None else "mm")


def _points(found: Any) -> npt.NDArray[np.float64]:
    points: npt.NDArray[np.float64] = found.points.astype(np.float64)
    return points


def epipolar_lines(here: ViewCamera, there: ViewCamera, uv: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Trace the epipolar lines of pixels of one camera in the image of another, bent as its lens bends them.

    Args:
        here: the camera whose image they are traced in.
        there: the camera of the pixels.
        uv: (N, 2) pixels.

    Returns:
        (N, K, 2) pixels, evenly spaced in inverse distance; NaN where the camera does not see the ray.
    """
    import cv2

    xy, _, ok = there.straight(uv)
    baseline = max(float(np.linalg.norm(here.centre - there.centre)), np.finfo(np.float64).tiny)
    depth = baseline / np.linspace(1 / FARTHEST, 1 / NEAREST, LINE_SAMPLES)
    rays = np.concatenate([xy, np.ones((len(xy), 1))], 1)
    world = (rays[:, None] * depth[:, None] - there.world_to_camera[:, 3]) @ there.world_to_camera[:, :3]
    place = world @ here.world_to_camera[:, :3].T + here.world_to_camera[:, 3]
    ahead = place[..., 2] > 1e-6 * baseline
    safe = np.where(ahead[..., None], place, (0.0, 0.0, 1.0)).reshape(-1, 3)
    seen, _ = cv2.projectPoints(safe, np.zeros(3), np.zeros(3), here.K, here.distortion)
    pixels = seen.reshape(*ahead.shape, 2)
    again, _, undone = here.straight(pixels.reshape(-1, 2).astype(np.float64))
    # Beyond the fold of a lens its formula brings rays back into the image, where no light falls.
    same = np.abs(again - safe[:, :2] / safe[:, 2:]).max(1) < 1e-3  # noqa: PLR2004
    shown = ahead & ok[:, None] & (undone & same).reshape(ahead.shape)
    return np.where(shown[..., None], pixels, np.nan)


def _captioned(tile: RgbImage, text: str) -> RgbImage:
    return np.vstack([tile, text_bar(text, tile.shape[1], GREY)])


def _beside(tiles: Sequence[RgbImage]) -> RgbImage:
    height = max(tile.shape[0] for tile in tiles)
    parts: list[RgbImage] = []
    for tile in tiles:
        below = np.full((height - tile.shape[0], tile.shape[1], 3), DARK, np.uint8)
        parts += [np.vstack([tile, below]), np.full((height, GAP_PX, 3), DARK, np.uint8)]
    return np.hstack(parts[:-1])


def check_views(views: Mapping[str, Any]) -> None:
    """Refuse fewer than two views; raises ModelError."""
    if len(views) < LEAST_VIEWS:
        raise ModelError(
            "points of space need two views", expected="images of at least two cameras", got=str(len(views))
        )
