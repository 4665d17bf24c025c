"""Overlap of boxes the usual way, one pair at a time; run by bench_iou3d in an environment with numpy and scipy.

The faces of each box are clipped by the planes of the other (Sutherland and Hodgman); all points found lie on the
common part, whose volume is that of their convex hull.

Protocol: the path of a .npz file as the only argument; then, per line of standard input, how many of its pairs to do;
per line of standard output, their overlaps.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.spatial import ConvexHull, QhullError

__all__ = ["overlap"]

SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
FACES = ((4, 5, 7, 6), (0, 1, 3, 2), (2, 3, 7, 6), (0, 1, 5, 4), (1, 3, 7, 5), (0, 2, 6, 4))
TOLERANCE = 1e-9


def clip(polygon: list[np.ndarray], axis: int, sign: float, limit: float) -> list[np.ndarray]:
    """Keep the part of a polygon that lies below a plane across an axis."""
    kept = []
    for k, there in enumerate(polygon):
        here = polygon[k - 1]
        before, after = sign * here[axis] - limit, sign * there[axis] - limit
        if (before > 0) != (after > 0):
            kept.append(here + (there - here) * (before / (before - after)))
        if after <= 0:
            kept.append(there)
    return kept


def clipped(vertices: np.ndarray, half: np.ndarray) -> list[np.ndarray]:
    """Clip the faces of one box, given in the frame of another, by the other."""
    found = []
    for face in FACES:
        polygon = [vertices[k] for k in face]
        for axis in range(3):
            for sign in (-1.0, 1.0):
                polygon = clip(polygon, axis, sign, half[axis] + TOLERANCE)
        found += polygon
    return found


def overlap(pose_a: np.ndarray, size_a: np.ndarray, pose_b: np.ndarray, size_b: np.ndarray) -> float:
    """Return the volume both boxes hold over the volume either holds."""
    relative = np.linalg.inv(pose_a) @ pose_b
    rotation, shift = relative[:3, :3], relative[:3, 3]
    points = clipped(SIGNS * size_b / 2 @ rotation.T + shift, size_a / 2)
    inverse = clipped((SIGNS * size_a / 2 - shift) @ rotation, size_b / 2)
    points += [rotation @ point + shift for point in inverse]
    if len(points) < 4:
        return 0.0
    try:
        shared = ConvexHull(np.array(points)).volume
    except QhullError:
        return 0.0
    return float(shared / (size_a.prod() + size_b.prod() - shared))


def main() -> None:
    """Answer requests until there are no more."""
    data = np.load(sys.argv[1])
    pairs = list(zip(data["pose_a"], data["size_a"], data["pose_b"], data["size_b"], strict=True))
    for line in sys.stdin:
        print(*(overlap(*pair) for pair in pairs[: int(line)]), flush=True)


if __name__ == "__main__":
    main()
