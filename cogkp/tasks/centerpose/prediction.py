"""The prediction of a CenterPose model for one image."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from cogkp.data.images import encode_image, to_display
from cogkp.errors import counted, printable
from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid import Cuboids
from cogkp.geometry.rotation import quaternion_from_rotation
from cogkp.inference.processor import Box, Prepared
from cogkp.tasks.centerpose.detections import Detections
from cogkp.tasks.centerpose.overlays import detection_outlines, detection_points, pose_outline
from cogkp.tasks.centerpose.poses import ObjectPose, ObjectPoses
from cogkp.visual.canvas import RgbImage
from cogkp.visual.figure import enlarged_tile
from cogkp.visual.marks import Outline
from cogkp.visual.markup import data_uri, escape
from cogkp.visual.overlay import draw_outlines

FloatArray = npt.NDArray[np.floating[Any]]
TEXT_SHARE, LEAST_TEXT_PX = 1 / 36, 9
LEAST_NOTEBOOK_PX = 480
NO_CAMERA = "no poses, since the camera is not known (camera=...)"


def inference_record(
    image_name: str, poses: ObjectPoses, category: str, frame: CameraFrame = CameraFrame.OPENCV
) -> dict[str, Any]:
    """Describe the poses found in one image, ready for JSON.

    The documented keys come first: ``location``, ``quaternion_xyzw`` and ``keypoints_3d`` in the camera axes asked for,
    ``projected_keypoints_2d`` whose first point is the mean of the other eight, ``relative_scale`` and ``keypoints_2d``
    as predicted. Added are ``class``, ``score``, ``bbox`` (left, top, right, bottom), ``size``,
    ``reprojection_error_px`` and ``up_to_scale``: whether ``location``, ``size`` and ``keypoints_3d`` are known up to
    one common factor only. A flat box that may as well stand in another pose has that as ``second_pose``: ``location``,
    ``quaternion_xyzw`` and ``reprojection_error_px``.
    """
    return {"image_name": image_name, "objects": [_object(k, pose, category, frame) for k, pose in enumerate(poses)]}


def detection_record(image_name: str, found: Detections, category: str) -> dict[str, Any]:
    """Describe the detections of one image without poses: the same keys without those of space."""
    columns = zip(found.uv_direct, found.relative_size, found.score, found.box_uv, strict=True)
    objects = [
        {
            "id": f"object_{k}",
            "relative_scale": size.tolist(),
            "keypoints_2d": uv.tolist(),
            "class": category,
            "score": float(score),
            "bbox": box.tolist(),
        }
        for k, (uv, size, score, box) in enumerate(columns)
    ]
    return {"image_name": image_name, "objects": objects}


def _object(index: int, pose: ObjectPose, category: str, frame: CameraFrame) -> dict[str, Any]:
    cuboid = Cuboids(pose.cuboid_to_camera, pose.size_xyz).in_frame(CameraFrame.OPENCV, frame)
    found = {
        "id": f"object_{index}",
        **_placed(cuboid),
        "projected_keypoints_2d": [pose.uv[1:].mean(0).tolist(), *pose.uv[1:].tolist()],
        "keypoints_3d": cuboid.points().tolist(),
        "relative_scale": pose.relative_size.tolist(),
        "keypoints_2d": pose.uv_direct.tolist(),
        "class": category,
        "score": pose.score,
        "bbox": pose.box_uv.tolist(),
        "size": pose.size_xyz.tolist(),
        "reprojection_error_px": pose.residual_px,
        "up_to_scale": not pose.metric,
    }
    if pose.ambiguous and pose.second_cuboid_to_camera is not None:
        second = Cuboids(pose.second_cuboid_to_camera, pose.size_xyz).in_frame(CameraFrame.OPENCV, frame)
        found["second_pose"] = {**_placed(second), "reprojection_error_px": pose.second_residual_px}
    return found


def _placed(cuboid: Cuboids) -> dict[str, Any]:
    to_camera = cuboid.cuboid_to_camera
    quaternion = quaternion_from_rotation(to_camera[:3, :3])
    return {"location": to_camera[:3, 3].tolist(), "quaternion_xyzw": quaternion.tolist()}


@attrs.frozen(eq=False)
class KnownCamera:
    """The camera of an image.

    Args:
        K: (3, 3) intrinsics, pixels of the image.
        distortion: (D,) of its lens, OpenCV order; None without.
    """

    K: FloatArray
    distortion: FloatArray | None = None


@attrs.frozen(eq=False, kw_only=True)
class FoundObject:
    """One object; pixels of the image, OpenCV camera axes. Without a camera there is no pose: its fields are None.

    Args:
        category: what it is.
        score: probability.
        box_uv: (4,) left, top, right, bottom.
        uv: (9, 2) middle and corners of the box in space as the camera sees them; without a camera the corners as the
            network saw them, and their mean.
        uv_direct: (8, 2) corners as the network saw them.
        relative_size: (3,) sides in units of the height, as predicted.
        cuboid_to_camera: (4, 4) pose.
        size_xyz: (3,) full side lengths.
        xyz_camera: (9, 3) middle and corners.
        residual_px: how well the box fits, weighted root mean square distance of its corners.
        metric: whether lengths are true; else they are known up to one common factor.
        ambiguous: whether noise may be all that makes the second pose fit worse.
        second_cuboid_to_camera: (4, 4) other pose of a flat box, about the first mirrored in depth; None without.
        second_residual_px: how well that one fits.
    """

    category: str
    score: float
    box_uv: FloatArray
    uv: FloatArray
    uv_direct: FloatArray
    relative_size: FloatArray
    cuboid_to_camera: FloatArray | None = None
    size_xyz: FloatArray | None = None
    xyz_camera: FloatArray | None = None
    residual_px: float | None = None
    metric: bool = False
    ambiguous: bool = False
    second_cuboid_to_camera: FloatArray | None = None
    second_residual_px: float | None = None

    def __repr__(self) -> str:
        u, v = self.uv[0]
        found = f"{printable(self.category)} {self.score:.2f} at ({u:.0f}, {v:.0f}) px"
        if self.cuboid_to_camera is None or self.residual_px is None:
            return f"<{found}>"
        place = ", ".join(f"{part:.3f}" for part in self.cuboid_to_camera[:3, 3])
        unit = "" if self.metric else " up to scale"
        return f"<{found}, ({place}){unit}, fits to {self.residual_px:.1f} px{', ambiguous' * self.ambiguous}>"


@attrs.frozen(eq=False, kw_only=True, repr=False, slots=False)
class CenterPosePrediction:
    """Objects, the likeliest first.

    Args:
        category: what the model finds.
        found: with their poses where the camera is known.
        camera: of the image; None where it is not known.
        seen: the image as the network took it.
        left_out: objects that were found but have no pose, since no box fits their corners.
    """

    category: str
    found: ObjectPoses | Detections
    camera: KnownCamera | None
    seen: Prepared
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[FoundObject]:
        return iter(self.objects)

    @cached_property
    def objects(self) -> tuple[FoundObject, ...]:
        """The objects one by one."""
        if isinstance(self.found, ObjectPoses):
            rows = [attrs.asdict(pose, recurse=False) for pose in self.found]
            return tuple(
                FoundObject(category=self.category, **{name: row[name] for name in row if name != "class_id"})
                for row in rows
            )
        found = self.found
        columns = zip(
            found.score, found.box_uv, detection_points(found), found.uv_direct, found.relative_size, strict=True
        )
        return tuple(
            FoundObject(
                category=self.category, score=float(score), box_uv=box, uv=uv, uv_direct=direct, relative_size=size
            )
            for score, box, uv, direct, size in columns
        )

    @property
    def confidence(self) -> FloatArray:
        """(M,) the score of each object, 0 to 1."""
        return np.array([each.score for each in self.objects], np.float32)

    def box(self, names: Sequence[str], least: float) -> Box | None:
        """Return the rectangle of the likeliest object; see :meth:`cogkp.inference.processor.Prediction.box`."""
        if not self.objects or self.objects[0].score < least:
            return None
        left, top, right, bottom = self.objects[0].box_uv.tolist()
        return left, top, right, bottom

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the image, pixels."""
        return self.seen.size_wh

    def outlines(self, axis_size: float = 0.5) -> list[Outline]:
        """Show the boxes as points and lines in pixels of the image; axes are in the unit of the predicted sizes."""
        if not isinstance(self.found, ObjectPoses) or self.camera is None:
            return detection_outlines(self.found if isinstance(self.found, Detections) else self.found.detections)
        K, lens = self.camera.K, self.camera.distortion
        return [pose_outline(pose, K, axis_size, lens) for pose in self.found]

    def draw(self, *, axis_size: float = 0.5, least_side_px: int = 0) -> RgbImage:
        """Draw the boxes over the image.

        The image is not copied when it is given: what was written into the array since then is drawn, too.

        Args:
            axis_size: length of the axes, in the unit of the predicted sizes.
            least_side_px: a smaller image is enlarged by the least whole factor that makes its longer side this long.

        Returns:
            (H, W, 3) uint8 RGB, or larger.

        Raises:
            ImageError: the file of the image cannot be read any more.
        """
        tile, factor = enlarged_tile(to_display(self.seen.image, self.size_wh), None, least_side_px)
        text_px = max(LEAST_TEXT_PX, round(TEXT_SHARE * min(tile.shape[:2])))
        return draw_outlines(tile, self.outlines(axis_size), factor=factor, text_px=text_px)

    def to_dict(self, frame: CameraFrame = CameraFrame.OPENCV) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON.

        Args:
            frame: axes of the camera in which positions and poses are given.

        Returns:
            ``size_wh``, ``camera_known``, ``left_out``, and ``objects`` with the keys of the inference's JSON files;
            see :mod:`cogkp.tasks.centerpose.prediction`. Without a camera those of space are missing.
        """
        if isinstance(self.found, ObjectPoses):
            record = inference_record("", self.found, self.category, frame)
        else:
            record = detection_record("", self.found, self.category)
        return {
            "size_wh": list(self.size_wh),
            "camera_known": self.camera is not None,
            "left_out": self.left_out,
            "objects": record["objects"],
        }

    def __repr__(self) -> str:
        parts = [", ".join(map(repr, self.objects)) or f"no {printable(self.category)}"]
        if self.camera is None:
            parts.append(NO_CAMERA)
        if self.left_out:
            parts.append(f"{counted(self.left_out, 'object')} left out, since no box fits the corners")
        return f"<{'{} x {}'.format(*self.size_wh)} pixels: {'; '.join(parts)}>"

    def _repr_html_(self) -> str:
        source = data_uri(encode_image(self.draw(least_side_px=LEAST_NOTEBOOK_PX)))
        lines = "<br>".join(escape(repr(each)) for each in self.objects)
        note = escape("" if self.camera is not None else NO_CAMERA)
        return f'<img src="{source}"><br>{lines}<br>{note}'
