"""What it costs to ask a model: `cogkp.load` and its first answer in a fresh process, and each answer after it.

The measure of an answer is ONNX Runtime's bare session with one `cv2.warpAffine` before it, on the same file.
The network has the preset 'small', 256 x 256 pixels and weights that nobody trained. Answers are measured in CPU time
of one thread, which other work on the machine lengthens less; first answers also in wall time, from the first line on.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.harness import compare, provenance, table
from cogkp.artifacts.manifest import Origin
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.exporter.deploy import deploy
from cogkp.inference.model import load
from cogkp.inference.parity import verify_onnx
from cogkp.tasks.keypoint.prediction import KeypointPrediction
from cogkp.tasks.keypoint.task import KeypointTask

__all__ = ["main"]

SIDE = 256
ROUNDS = 400
PROCESSES = 15

FIRST_ANSWER = """
import time
start = time.perf_counter(), time.process_time()
import sys
import numpy as np
{opening}
image = np.zeros((256, 256, 3), np.uint8)
{asking}
print(time.perf_counter() - start[0], time.process_time() - start[1], "torch" in sys.modules)
"""
WAYS = {
    "import numpy, cv2, onnxruntime; run": (
        "import cv2, onnxruntime; session = onnxruntime.InferenceSession({file!r}, providers=['CPUExecutionProvider'])",
        "session.run(None, {{'input': np.zeros((1, 1, 256, 256), np.float32)}})",
    ),
    "cogkp.load, first answer": ("import cogkp; model = cogkp.load({file!r})", "model(image).points"),
}


def export(folder: Path) -> Path:
    """Write the ONNX file."""
    return deploy(
        KeypointTask(KeypointConfig.default()),
        onnx_path=folder / "small.onnx",
        engine_path=None,
        precision="fp32",
        batch_size=1,
        builder="auto",
        origin=Origin("0" * 64),
        verify=lambda module, path, signature: verify_onnx(module, path, signature, {}),
        log=lambda line: None,
    ).onnx


def bare(file: Path, image: npt.NDArray[np.uint8]) -> Callable[[], object]:
    """Cut the crop by one call of OpenCV and run ONNX Runtime's session."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    scale = SIDE / max(image.shape[:2])
    matrix = np.array([[scale, 0.0, 0.5 * scale - 0.5], [0.0, scale, 0.5 * scale - 0.5]])

    def run() -> object:
        crop = cv2.warpAffine(image, matrix, (SIDE, SIDE))
        return session.run(None, {"input": crop.astype(np.float32)[None, None] / np.float32(255)})

    return run


def first_answers(file: Path) -> None:
    """Start processes in turns, and show how long each takes from its first line to its first answer."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(PROCESSES):
        for name, (opening, asking) in WAYS.items():
            code = FIRST_ANSWER.format(opening=opening.format(file=str(file)), asking=asking.format())
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            taken, cpu, torch = said.split()
            assert torch == "False", "torch was imported"
            seconds[name].append((float(taken), float(cpu)))
    for name, values in seconds.items():
        wall_s, cpu_s = (list(each) for each in zip(*values, strict=True))
        wall = f"{statistics.median(wall_s):.3f} s, fastest {min(wall_s):.3f} s"
        print(f"{name:<38} {wall}, CPU {statistics.median(cpu_s):.3f} s")
    print("torch was not imported\n")


def all_of(found: KeypointPrediction) -> None:
    """Read everything a prediction holds."""
    _ = found.points, found.confidence, found.covariance, found.mask


def main() -> None:
    """Measure both on one thread."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = export(Path(folder))
        first_answers(file)
        rng = np.random.default_rng(0)
        with load(file, threads=1) as model:
            for size in ((256, 256), (480, 640)):
                grey = rng.integers(0, 256, size, np.uint8)
                colours = np.repeat(grey[..., None], 3, axis=2)
                ways = {
                    "session + warpAffine, grey": bare(file, grey),
                    "model(grey)": lambda grey=grey: model(grey),
                    "model(colours)": lambda colours=colours: model(colours),
                    "model(grey), all of it read": lambda grey=grey: all_of(model(grey)),
                }
                table("{1} x {0}".format(*size), compare(ways, rounds=ROUNDS, clock=time.process_time))
    for name, value in provenance().items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
