"""Boxes in space, and an oracle for what two of them share that has nothing in common with the library's way."""

import cv2
import numpy as np
import torch

from cogkp.geometry.cuboid import Cuboids, Plane

SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
ROUNDS = ((4, 5, 7, 6), (0, 1, 3, 2), (2, 3, 7, 6), (0, 1, 5, 4), (1, 3, 7, 5), (0, 2, 6, 4))


def turn(vector):
    return cv2.Rodrigues(np.asarray(vector, dtype=float))[0]


def pose(rotation=None, location=(0.0, 0.0, 0.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) if rotation is None else rotation
    matrix[:3, 3] = location
    return matrix


def boxes(poses, sizes, dtype=torch.float64):
    return Cuboids(torch.tensor(np.asarray(poses), dtype=dtype), torch.tensor(np.asarray(sizes), dtype=dtype))


def array_boxes(poses, sizes):
    return Cuboids(np.asarray(poses, float), np.asarray(sizes, float))


def floor_under(made, down):
    """The face that boxes stand on: of the axis most parallel to gravity, the one farthest down."""
    axes = made.cuboid_to_camera[..., :3, :3].swapaxes(-1, -2)
    lean = (axes * down).sum(-1)
    chosen = np.abs(lean).argmax(-1)[..., None]
    axis = np.take_along_axis(axes, chosen[..., None], -2)[..., 0, :]
    up = np.where(np.take_along_axis(lean, chosen, -1) > 0, -axis, axis)
    length = np.take_along_axis(made.size_xyz, chosen, -1)
    return Plane(made.cuboid_to_camera[..., :3, 3] - 0.5 * length * up, up)


def random_boxes(rng, count, spread=0.4, thinnest=0.2):
    """(count, 4, 4) poses near the origin and (count, 3) sizes up to one."""
    poses = np.array([pose(turn(rng.normal(0, 2, 3)), rng.normal(0, spread, 3)) for _ in range(count)])
    return poses, rng.uniform(thinnest, 1.0, (count, 3))


def corners(matrix, size):
    return SIGNS * np.asarray(size) / 2 @ matrix[:3, :3].T + matrix[:3, 3]


def _clip(face, depth):
    """Keep the part of a polygon where ``depth`` is not positive (Sutherland and Hodgman)."""
    kept = []
    for k in range(len(face)):
        here, there = depth[k - 1], depth[k]
        if (here <= 0) != (there <= 0):
            kept.append(face[k - 1] + (face[k] - face[k - 1]) * here / (here - there))
        if there <= 0:
            kept.append(face[k])
    return np.array(kept)


def _round_up(points, normal):
    """Order points of a plane around their middle."""
    middle = points.mean(0)
    first = np.linalg.svd(points - middle)[2][0]
    second = np.cross(normal, first)
    angle = np.arctan2((points - middle) @ second, (points - middle) @ first)
    return points[np.argsort(angle)]


def _area(face):
    spokes = face[1:] - face[0]
    return 0.5 * np.linalg.norm(np.cross(spokes[:-1], spokes[1:]).sum(0))


def shared_volume(pose_a, size_a, pose_b, size_b, tolerance=1e-12):
    """Cut the first box by the six half-spaces of the second, one after the other, and measure what is left."""
    vertices = corners(pose_a, size_a)
    faces = [vertices[list(order)] for order in ROUNDS]
    for axis in range(3):
        for sign in (-1, 1):
            normal = sign * pose_b[:3, axis]
            limit = normal @ pose_b[:3, 3] + 0.5 * size_b[axis]
            depths = [face @ normal - limit for face in faces]
            if max(depth.max() for depth in depths) <= tolerance:
                continue
            if min(depth.min() for depth in depths) >= -tolerance:
                return 0.0
            faces = [kept for kept in map(_clip, faces, depths) if len(kept) > 2]
            rim = np.concatenate([face[np.abs(face @ normal - limit) < 1e-9] for face in faces])
            faces.append(_round_up(rim, normal))
    return _volume(faces)


def _volume(faces):
    inside = np.concatenate(faces).mean(0)
    total = 0.0
    for face in faces:
        normal = np.linalg.svd(face - face.mean(0))[2][2]
        total += _area(face) * abs(normal @ (face.mean(0) - inside)) / 3
    return total


def iou(pose_a, size_a, pose_b, size_b):
    shared = shared_volume(pose_a, np.asarray(size_a), pose_b, np.asarray(size_b))
    return shared / (np.prod(size_a) + np.prod(size_b) - shared)
