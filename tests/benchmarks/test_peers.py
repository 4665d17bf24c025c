"""A peer is asked over a pipe and answers with arrays; the triangulation benchmark runs whole without peers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_triangulation
from benchmarks.harness import compare
from benchmarks.peers import Peer, cpu_clock, start

WORKER = """
import time
from benchmarks.peers.serving import inputs, serve
x = inputs()["x"]
print("a library that talks")
def fail():
    raise SystemExit(3)
def work():
    end = time.process_time() + 0.03
    while time.process_time() < end:
        pass
serve({"double": lambda: 2 * x, "fail": fail, "work": work}, ("numpy",))
"""


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    with start([sys.executable, str(script)], {"x": np.arange(3.0)}) as opened:
        yield opened


def test_a_peer_names_its_ways_and_versions_and_returns_what_it_found(peer: Peer) -> None:
    assert peer.names == ["double", "fail", "work"]
    assert peer.versions == {"numpy": np.__version__}
    assert peer.result("double").tolist() == [0.0, 2.0, 4.0]


def test_a_peer_takes_turns_with_ours(peer: Peer) -> None:
    ours, theirs = compare({"ours": lambda: None, "double": peer.ways()["double"]}, rounds=3)
    assert theirs.median_s > ours.median_s


def test_the_clock_counts_what_a_peer_works_and_not_what_we_wait(peer: Peer) -> None:
    clock = cpu_clock(peer)
    slept, worked = compare({"sleep": lambda: time.sleep(0.05), "work": peer.ways()["work"]}, rounds=3, clock=clock)
    assert slept.median_s < 0.02
    assert worked.median_s > 0.02


def test_a_peer_that_fails_is_loud(peer: Peer) -> None:
    with pytest.raises(ChildProcessError, match="code 3"):
        peer.result("fail")


def test_the_benchmark_runs_without_peers(capsys: pytest.CaptureFixture[str]) -> None:
    scene = bench_triangulation.scene(200)
    bench_triangulation.two_views(scene, None, rounds=1)
    bench_triangulation.many_views(scene, None, rounds=1)
    out = capsys.readouterr().out
    rows = {line[:34].strip(): line.split() for line in out.splitlines() if line.endswith("%")}
    assert float(rows["triangulate_pair"][-2]) < 0.1
    assert float(rows["and refine"][-2]) < 2.0
    assert "cv2.triangulatePoints" in out
