"""What it costs to ask a model: `cogkp.load` and its first answer in a fresh process, and each answer after it.

The measure of an answer is ONNX Runtime's bare session with one `cv2.warpAffine` before it, on the same file.
The network has the preset 'small', 256 x 256 pixels and weights that nobody trained.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.harness import compare, show, table
from cogkp.artifacts.manifest import Origin
from cogkp.config.keypoint.spec import KeypointConfig
from cogkp.exporter.deploy import deploy
from cogkp.inference.model import load
from cogkp.inference.parity import verify_onnx
from cogkp.tasks.keypoint.task import KeypointTask

__all__ = ["main"]

SIDE = 256
ROUNDS = 400
PROCESSES = 15

FIRST_ANSWER = """
import time
start = time.perf_counter()
import sys
import numpy as np
{opening}
image = np.zeros((256, 256, 3), np.uint8)
{asking}
print(time.perf_counter() - start, "torch" in sys.modules)
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
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(PROCESSES):
        for name, (opening, asking) in WAYS.items():
            code = FIRST_ANSWER.format(opening=opening.format(file=str(file)), asking=asking.format())
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            taken, torch = said.split()
            assert torch == "False", "torch was imported"
            seconds[name].append(float(taken))
    for name, values in seconds.items():
        print(f"{name:<38} {statistics.median(values):.3f} s, fastest {min(values):.3f} s")
    print("torch was not imported\n")


def main() -> None:
    """Measure both on one thread."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = export(Path(folder))
        first_answers(file)
        rng = np.random.default_rng(0)
        with load(file, threads=1) as model:
            for title, shape in (("grey, 256 x 256", (256, 256)), ("colours, 640 x 480", (480, 640, 3))):
                image = rng.integers(0, 256, shape, np.uint8)
                grey = image if image.ndim == 2 else image[..., 0].copy()
                ways = {"session + warpAffine": bare(file, grey), "model(image)": lambda image=image: model(image)}
                (table if image.ndim == 2 else show)(title, compare(ways, rounds=ROUNDS))


if __name__ == "__main__":
    main()
