"""Triangulate many points on one thread: how long it takes and how far off it is, beside OpenCV, Kornia and aniposelib.

Times are those of the processor, of whichever process was asked, so that other programs on the machine hardly count.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_triangulation [--points N] [--rounds N] [--no-peers]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import NamedTuple

import cv2
import numpy as np
import torch

from benchmarks.harness import compare, provenance, table
from benchmarks.peers import Peer, cpu_clock, environment, one_thread, start
from cogkp.geometry.gauss_newton import refine
from cogkp.geometry.triangulate import triangulate_pair, triangulate_robust, triangulate_views
from cogkp.geometry.uncertainty import covariance

NOISE_PX = 0.5
VIEWS = 4
MISSING = 0.15
REQUIREMENTS = {"kornia": ("kornia==0.9.0", "numpy"), "aniposelib": ("aniposelib==0.8.0",)}

Ways = dict[str, Callable[[], object]]


class Scene(NamedTuple):
    """Points, the cameras around them, and noisy pixels.

    Args:
        xyz: (N, 3) float64, where the points are.
        K: (3, 3) float64, of every camera.
        poses: (V, 3, 4) float64.
        P: (V, 3, 4) float32.
        uv: (V, N, 2) float32, every pixel with the same noise.
        patchy: (V, N, 2) float32, pixels with noise of their own; NaN where a view missed the point.
        weights: (V, N) float32, inverse variance of ``patchy``, 1 at the noise of ``uv``.
    """

    xyz: np.ndarray
    K: np.ndarray
    poses: np.ndarray
    P: torch.Tensor
    uv: torch.Tensor
    patchy: torch.Tensor
    weights: torch.Tensor


def scene(points: int) -> Scene:
    """Place cameras around points, about six units away."""
    generator = np.random.default_rng(0)
    K = np.array([[800.0, 0, 320], [0, 790, 240], [0, 0, 1]])
    turns = [cv2.Rodrigues(generator.normal(0, 0.1, 3))[0] for _ in range(VIEWS)]
    poses = np.array([np.c_[turn, generator.normal((0, 0, 6), 0.5)] for turn in turns])
    xyz = generator.uniform(-1, 1, (points, 3))
    P = K @ poses
    moved = np.einsum("vij,nj->vni", P[:, :, :3], xyz) + P[:, None, :, 3]
    uv, noise = moved[..., :2] / moved[..., 2:], NOISE_PX * generator.normal(size=(VIEWS, points, 2))
    weights = generator.uniform(0.5, 1.5, (VIEWS, points))
    patchy = uv + noise / np.sqrt(weights)[..., None]
    patchy[generator.random((VIEWS, points)) < MISSING] = np.nan
    tensors = (torch.tensor(value, dtype=torch.float32) for value in (P, uv + noise, patchy, weights))
    return Scene(xyz, K, poses, *tensors)


def optimum(scene: Scene, uv: torch.Tensor, P: torch.Tensor, weights: torch.Tensor | None) -> np.ndarray:
    """Find the points of least squared reprojection error, in float64 from the truth on."""
    wide = None if weights is None else weights.double()
    return refine(torch.from_numpy(scene.xyz), uv.double(), P.double(), wide, steps=10).numpy()


def errors(title: str, scene: Scene, found: Mapping[str, np.ndarray], kept: np.ndarray) -> None:
    """Print root mean square distances, and how much more than the optimum's, which comes first."""
    distances = {name: float(np.sqrt(np.square(xyz - scene.xyz)[kept].sum(1).mean())) for name, xyz in found.items()}
    best = next(iter(distances.values()))
    print(f"{title}\n\n{'way':<34} {'error':>10} {'above optimum':>14}")
    for name, distance in distances.items():
        print(f"{name:<34} {distance:>10.6f} {100 * (distance / best - 1):>12.2f} %")
    print()


def two_views(scene: Scene, peer: Peer | None, rounds: int) -> None:
    """Compare the closed form for two views, without and with gradient."""
    uv, P = scene.uv, scene.P
    left, right = (np.ascontiguousarray(uv[k].numpy().T) for k in range(2))
    matrices = P.double().numpy()

    def opencv() -> np.ndarray:
        homogeneous = cv2.triangulatePoints(matrices[0], matrices[1], left, right)
        return np.asarray((homogeneous[:3] / homogeneous[3]).T)

    def pair() -> np.ndarray:
        return triangulate_pair(uv[0], uv[1], P[0], P[1]).xyz_world.numpy()

    def pair_and_gradient() -> None:
        one, other = (uv[k].clone().requires_grad_() for k in range(2))
        triangulate_pair(one, other, P[0], P[1]).xyz_world.sum().backward()

    forward: Ways = {"triangulate_pair": pair, "cv2.triangulatePoints": opencv}
    backward: Ways = {"triangulate_pair, and gradient": pair_and_gradient}
    theirs, clock = (peer.ways(), cpu_clock(peer)) if peer else ({}, cpu_clock())
    found = {
        "optimum": optimum(scene, uv[:2], P[:2], None),
        "triangulate_pair": pair(),
        "cv2.triangulatePoints": opencv(),
    }
    for name, way in theirs.items():
        if name.endswith("gradient"):
            backward[name] = way
        else:
            forward[name] = way
            found[name] = peer.result(name)
    errors(
        f"Two views, {NOISE_PX} px of noise: root mean square error, world units",
        scene,
        found,
        np.isfinite(sum(found.values())).all(1),
    )
    table("Two views", compare(forward, rounds=rounds, clock=clock))
    table("Two views, forward and backward", compare(backward, rounds=rounds, clock=clock))


def many_views(scene: Scene, peer: Peer | None, rounds: int) -> None:
    """Compare four views with weights, some of them missing."""
    uv, P, weights = scene.patchy, scene.P, scene.weights
    start = triangulate_views(uv, P, weights)
    pixel = (NOISE_PX**2 / weights)[..., None, None] * torch.eye(2)

    def refined() -> np.ndarray:
        return refine(start.xyz_world, uv, P, weights).numpy()

    def gradient() -> None:
        seen = uv.clone().requires_grad_()
        triangulate_views(seen, P, weights).xyz_world.sum().backward()

    found = {
        "optimum": optimum(scene, uv, P, weights),
        "triangulate_views": start.xyz_world.numpy(),
        "and refine": refined(),
    }
    theirs, clock = (peer.ways(), cpu_clock(peer)) if peer else ({}, cpu_clock())
    found |= {name: peer.result(name) for name in theirs}
    kept = start.valid.numpy() & np.isfinite(sum(found.values())).all(1)
    errors(f"Four views, weights, {MISSING:.0%} missing: root mean square error, world units", scene, found, kept)
    ways: Ways = {"triangulate_views": lambda: triangulate_views(uv, P, weights), **theirs}
    table("Four views, weights, some missing", compare(ways, rounds=rounds, clock=clock))
    rest: Ways = {
        "triangulate_views": ways["triangulate_views"],
        "triangulate_views, and gradient": gradient,
        "refine, 2 steps": refined,
        "triangulate_robust": lambda: triangulate_robust(uv, P, weights),
        "covariance": lambda: covariance(start.xyz_world, P, pixel),
    }
    table("Four views, ours alone", compare(rest, rounds=rounds, clock=clock))


def kornia(scene: Scene) -> AbstractContextManager[Peer]:
    """Start Kornia."""
    python = environment("kornia", REQUIREMENTS["kornia"])
    return start([str(python), "-m", "benchmarks.peers.kornia_worker"], {"P": scene.P.numpy(), "uv": scene.uv.numpy()})


def aniposelib(scene: Scene) -> AbstractContextManager[Peer]:
    """Start aniposelib."""
    python = environment("aniposelib", REQUIREMENTS["aniposelib"])
    inputs = {"K": scene.K, "poses": scene.poses, "uv": scene.patchy.numpy()}
    return start([str(python), "-m", "benchmarks.peers.aniposelib_worker"], inputs)


def main() -> None:
    """Print errors, then times with their provenance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-peers", action="store_true", help="ours and OpenCV only; installs nothing")
    asked = parser.parse_args()
    one_thread()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    here = scene(asked.points)
    print(f"{asked.points} points, float32, one thread, processor time, medians of {asked.rounds} rounds in turn\n")
    facts = provenance()
    with ExitStack() as stack:
        pair_peer, views_peer = (
            (None, None) if asked.no_peers else (stack.enter_context(opened(here)) for opened in (kornia, aniposelib))
        )
        two_views(here, pair_peer, asked.rounds)
        many_views(here, views_peer, asked.rounds)
        for peer in (pair_peer, views_peer):
            facts |= {f"peer's {name}": version for name, version in peer.versions.items()} if peer else {}
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))


if __name__ == "__main__":
    main()
