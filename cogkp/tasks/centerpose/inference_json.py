"""Detected objects as the documented JSON, one object of Python values per image."""

from __future__ import annotations

from typing import Any

from cogkp.geometry.camera_frame import CameraFrame
from cogkp.geometry.cuboid import Cuboids
from cogkp.geometry.rotation import quaternion_from_rotation
from cogkp.tasks.centerpose.detections import Detections
from cogkp.tasks.centerpose.poses import ObjectPose, ObjectPoses

__all__ = ["detection_record", "inference_record"]


def inference_record(
    image_name: str, poses: ObjectPoses, category: str, frame: CameraFrame = CameraFrame.OPENCV
) -> dict[str, Any]:
    """Describe the poses found in one image.

    The documented keys come first: ``location``, ``quaternion_xyzw`` and ``keypoints_3d`` in the frame asked for,
    ``projected_keypoints_2d`` whose first point is the mean of the other eight, ``relative_scale`` and ``keypoints_2d``
    as predicted. Added are ``class``, ``score``, ``bbox`` (left, top, right, bottom), ``size``,
    ``reprojection_error_px`` and ``up_to_scale``: whether ``location``, ``size`` and ``keypoints_3d`` are known up to
    one common factor only. A flat box that may as well stand in another pose has that as ``second_pose``:
    ``location``, ``quaternion_xyzw`` and ``reprojection_error_px``.

    Args:
        image_name: as the file is called.
        poses: of this image.
        category: name of what the network was trained on.
        frame: axes of the camera.

    Returns:
        Ready for JSON.
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
