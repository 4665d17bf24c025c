"""Measure the overlap of boxes under rotations, against clipping and hulls one pair at a time, on one thread.

Run: OMP_NUM_THREADS=1 python -m benchmarks.bench_iou3d [PYTHON]
PYTHON is an interpreter that has numpy and scipy; without it an environment is made for the purpose.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import compare, show
from cogkp.geometry.cuboid import Cuboids, symmetry_angles
from cogkp.geometry.iou3d import best_turn_iou3d, iou3d
from cogkp.geometry.rotation import rotation_from_quaternion

PAIRS, TURNS, BY_THE_PEER = 10_000, 100, 200
KIBI = 1024


def boxes(generator: torch.Generator, count: int, spread: float) -> Cuboids:
    """Draw boxes near the origin, turned any way."""
    draw = {"generator": generator, "dtype": torch.float64}
    pose = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    pose[:, :3, :3] = rotation_from_quaternion(torch.randn(count, 4, **draw))
    pose[:, :3, 3] = spread * torch.randn(count, 3, **draw)
    return Cuboids(pose, 0.2 + 0.8 * torch.rand(count, 3, **draw))


def peer_python(folder: Path) -> str:
    """Make an environment with what the peer needs, unless one was given."""
    if len(sys.argv) > 1:
        return sys.argv[1]
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", "numpy", "scipy"], check=True)
    return str(python)


class Peer:
    """The way of clipping and hulls, in its own process."""

    def __init__(self, python: str, folder: Path, first: Cuboids, second: Cuboids) -> None:
        arrays = {"pose_a": first.cuboid_to_camera, "size_a": first.size_xyz.expand(len(first.cuboid_to_camera), 3)}
        arrays |= {"pose_b": second.cuboid_to_camera, "size_b": second.size_xyz}
        file = folder / "pairs.npz"
        np.savez(file, **{name: value.numpy() for name, value in arrays.items()})
        script = str(Path(__file__).with_name("peer_iou3d.py"))
        self.process = subprocess.Popen(
            [python, script, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, count: int = BY_THE_PEER) -> list[float]:
        """Return the overlaps of the first pairs."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return [float(word) for word in self.process.stdout.readline().split()]


def measure(python: str, folder: Path) -> None:
    """Print differences, times and memory."""
    generator = torch.Generator().manual_seed(0)
    first, second = boxes(generator, PAIRS, 0.1), boxes(generator, PAIRS, 0.1)
    angles = symmetry_angles(TURNS)
    # The peer does pairs spread over all rotations.
    turn, pair = torch.arange(BY_THE_PEER) % TURNS, torch.arange(BY_THE_PEER)
    some = Cuboids(first[pair].turned(angles).cuboid_to_camera[turn, pair], first.size_xyz[pair])
    peer = Peer(python, folder, some, second[pair])
    difference = (torch.tensor(peer()) - iou3d(some, second[pair])).abs().max().item()
    share = float((iou3d(first, second) > 0).double().mean())
    print(f"largest difference over {BY_THE_PEER} pairs: {difference:.1e}; {share:.0%} of the pairs overlap\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole = f"cogkp, {PAIRS} pairs x {TURNS} turns"
    ways = {
        f"clip and hull, {BY_THE_PEER} pairs": peer,
        f"cogkp, the same {BY_THE_PEER} pairs": lambda: iou3d(some, second[pair]),
        f"cogkp, {PAIRS} pairs": lambda: iou3d(first, second),
        whole: lambda: best_turn_iou3d(first, second, angles),
    }
    timings = compare(ways, rounds=5)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    show("3-D overlap of boxes, float64, one thread", timings)
    taken = {timing.name: timing.median_s for timing in timings}
    slow, fast = taken[f"clip and hull, {BY_THE_PEER} pairs"] / BY_THE_PEER, taken[whole] / (PAIRS * TURNS)
    print(f"\nper pair: clip and hull {slow * 1e6:.0f} us, cogkp {fast * 1e6:.2f} us: {slow / fast:.0f} times faster")
    print(f"memory: {(after - before) / KIBI:.0f} MiB more than before, {after / KIBI:.0f} MiB in all")
    peer.process.kill()


def main() -> None:
    """Measure against a peer in an environment of its own."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure(peer_python(Path(folder) / "peer"), Path(folder))


if __name__ == "__main__":
    main()
