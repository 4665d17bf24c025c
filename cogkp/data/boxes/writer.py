"""Write annotation files of boxes, with every documented key that is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cogkp.data.boxes.clip import clip_matrix
from cogkp.data.boxes.frames import project
from cogkp.data.boxes.records import BoxRecord, Ground
from cogkp.errors import GeometryError
from cogkp.geometry.camera_frame import CameraFrame, frame_to_frame
from cogkp.geometry.cuboid import UNIT_POINTS
from cogkp.geometry.rotation import quaternion_from_rotation

FloatArray = npt.NDArray[np.float64]


def placed_box(
    category: str,
    cuboid_to_camera: FloatArray,
    size_xyz: FloatArray,
    K: FloatArray,
    *,
    visibility: float = 1.0,
    num_symmetry: int | None = None,
) -> BoxRecord:
    """Make the record of a box whose place is known exactly, in OpenCV axes.

    ``num_symmetry`` says after how many equal turns it looks alike; None leaves that open.

    Raises:
        GeometryError: a point is behind the camera.
    """
    points = (size_xyz * np.array(UNIT_POINTS)) @ cuboid_to_camera[:3, :3].T + cuboid_to_camera[:3, 3]
    uv = project(K, points)
    if not np.isfinite(uv).all():
        raise GeometryError("a point of the box is behind the camera", got=f"z {points[:, 2].min():.4g}")
    return BoxRecord(
        name=category,
        category=category,
        where="",
        uv_source=uv,
        xyz_camera=points,
        cuboid_to_camera=cuboid_to_camera,
        size_xyz=size_xyz,
        visibility=visibility,
        symmetric=None if num_symmetry is None else num_symmetry > 1,
        num_symmetry=num_symmetry,
        given=frozenset(),
    )


def annotation_of(
    boxes: Sequence[BoxRecord],
    size_wh: tuple[int, int],
    K: FloatArray | None,
    *,
    ground: Ground | None = None,
    camera_frame: CameraFrame = CameraFrame.OBJECTRON,
    provenance: str = "",
) -> dict[str, Any]:
    """Write records as the content of an annotation file, ready for JSON; what is not known is left out.

    The file says in which axes it is written, and from where (``provenance``). Read back, it is the same to rounding.
    """
    turn = frame_to_frame(CameraFrame.OPENCV, camera_frame)
    content: dict[str, Any] = {
        "camera_data": _camera(size_wh, K, camera_frame),
        "objects": [_object(box, number, turn, provenance) for number, box in enumerate(boxes)],
    }
    if ground is not None:
        plane = {"plane_center": turn @ ground.center, "plane_normal": turn @ ground.normal}
        content["AR_data"] = {key: value.tolist() for key, value in plane.items()}
    return content


def _camera(size_wh: tuple[int, int], K: FloatArray | None, frame: CameraFrame) -> dict[str, Any]:
    camera: dict[str, Any] = {"width": size_wh[0], "height": size_wh[1], "camera_frame": frame.value}
    if K is None:
        return camera
    numbers = {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    camera["intrinsics"] = {key: float(value) for key, value in numbers.items()}
    matrix = clip_matrix(K, size_wh, frame)
    if matrix is not None:
        camera["camera_projection_matrix"] = matrix.tolist()
    camera["camera_view_matrix"] = np.eye(4).tolist()
    return camera


def _object(box: BoxRecord, number: int, turn: FloatArray, provenance: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"class": box.category, "name": f"{box.category}_{number}"}
    if provenance:
        entry["provenance"] = provenance
    entry["visibility"] = box.visibility
    flags = {"symmetric": box.symmetric, "num_symmetry": box.num_symmetry}
    entry |= {key: flag for key, flag in flags.items() if flag is not None}
    if box.cuboid_to_camera is not None:
        entry["location"] = (turn @ box.cuboid_to_camera[:3, 3]).tolist()
        entry["quaternion_xyzw"] = quaternion_from_rotation(turn @ box.cuboid_to_camera[:3, :3]).tolist()
    if box.size_xyz is not None:
        entry["scale"] = box.size_xyz.tolist()
    if box.xyz_camera is not None:
        entry["keypoints_3d"] = (box.xyz_camera @ turn.T).tolist()
    entry["projected_cuboid"] = box.uv_source.tolist()
    return entry
