"""Kornia's ways of triangulating, run by benchmarks.bench_triangulation in an environment of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from kornia.geometry.epipolar import triangulate_points

from benchmarks.peers.serving import inputs, serve

SOLVERS = ("svd", "eigh", "cofactor")


def main() -> None:
    """Serve each solver, without and with gradient."""
    torch.set_num_threads(1)
    arrays = inputs()
    P, uv = (torch.from_numpy(arrays[name]) for name in ("P", "uv"))

    def forward(solver: str) -> Callable[[], np.ndarray]:
        return lambda: triangulate_points(P[0], P[1], uv[0], uv[1], solver=solver).numpy()

    def backward(solver: str) -> Callable[[], object]:
        def run() -> np.ndarray:
            left, right = (uv[k].clone().requires_grad_() for k in range(2))
            triangulate_points(P[0], P[1], left, right, solver=solver).sum().backward()
            return torch.stack([left.grad, right.grad]).numpy()

        return run

    ways: dict[str, Callable[[], object]] = {f"Kornia, {solver}": forward(solver) for solver in SOLVERS}
    ways |= {f"Kornia, {solver}, and gradient": backward(solver) for solver in SOLVERS}
    serve(ways, ("kornia", "torch"))


if __name__ == "__main__":
    main()
