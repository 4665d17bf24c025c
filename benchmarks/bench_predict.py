"""What `cogkp.predict` costs over a folder and a video, beside decoding and ONNX Runtime's bare session.

The measure decodes with OpenCV (`cv2.imdecode` of the file's bytes, or `VideoCapture`), shrinks with one
`cv2.warpAffine` and runs the session, one image after the other. `cogkp.predict` reads the points of each frame, and
once more writes lines of JSON with confidence and covariance. The network has the preset 'small', 256 x 256 pixels and
weights that nobody trained; ONNX Runtime has one thread. Wall time on all cores shows what overlap brings; CPU time
shows what it costs.
A stereo pair to points in space is measured beside its two passes through the network.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

import cogkp
from benchmarks.bench_model import SIDE, export
from benchmarks.harness import compare, provenance, table
from cogkp.geometry.camera import PinholeCamera
from cogkp.geometry.rig import CameraRig
from cogkp.inference.views import LiftRules, ViewRig, lifted

__all__ = ["main"]

FRAMES = 200
SIZE_WH = (640, 480)
FPS = 25.0


def write_sources(folder: Path) -> tuple[Path, Path]:
    """Write frames of smooth noise as JPEG files and as a video."""
    rng = np.random.default_rng(0)
    images, video = folder / "images", folder / "video.mp4"
    images.mkdir()
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE_WH)
    for number in range(FRAMES):
        frame = cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), SIZE_WH, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(images / f"{number:04d}.jpg"), frame)
        writer.write(frame)
    writer.release()
    return images, video


def bare_session(file: Path) -> Callable[[np.ndarray], object]:
    """Shrink a decoded image and run ONNX Runtime's session on it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    scale = SIDE / max(SIZE_WH)
    matrix = np.array([[scale, 0.0, 0.5 * scale - 0.5], [0.0, scale, 0.5 * scale - 0.5]])

    def run(image: np.ndarray) -> object:
        crop = cv2.warpAffine(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), matrix, (SIDE, SIDE))
        return session.run(None, {"input": crop.astype(np.float32)[None, None] / np.float32(255)})

    return run


def decoded_folder(images: Path, run: Callable[[np.ndarray], object]) -> None:
    """Decode file after file."""
    for path in sorted(images.iterdir()):
        run(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR))


def decoded_video(video: Path, run: Callable[[np.ndarray], object]) -> None:
    """Decode frame after frame."""
    capture = cv2.VideoCapture(str(video))
    while True:
        done, image = capture.read()
        if not done:
            return
        run(image)


def points_of(model: cogkp.inference.model.Model, source: Path) -> None:
    """Read the points of each frame."""
    with cogkp.predict(model, source) as predictions:
        for each in predictions:
            _ = each.found.points


def written(model: cogkp.inference.model.Model, source: Path, folder: Path) -> None:
    """Write lines of JSON."""
    cogkp.write_predictions(cogkp.predict(model, source), folder / "out.jsonl")


def pair_rig() -> CameraRig:
    """Make two cameras side by side."""
    K = torch.tensor([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    aside = torch.eye(4, dtype=torch.float64)
    aside[0, 3] = -1.0
    lens = torch.tensor([-0.1, 0.02, 0.0, 0.0, 0.0], dtype=torch.float64)
    return CameraRig(
        ("LL", "LR"), tuple(PinholeCamera(K, pose, SIZE_WH, lens) for pose in (torch.eye(4).double(), aside))
    )


def main() -> None:
    """Measure on this machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, video = write_sources(folder)
        file = export(folder)
        run = bare_session(file)
        with cogkp.load(file, threads=1) as model:
            for title, source, bare in (
                (f"{FRAMES} JPEG files of 640 x 480", images, lambda: decoded_folder(images, run)),
                (f"a video of {FRAMES} frames of 640 x 480", video, lambda: decoded_video(video, run)),
            ):
                ways = {
                    "decode + bare session": bare,
                    "cogkp.predict, points": lambda source=source: points_of(model, source),
                    "cogkp.predict, written as JSONL": lambda source=source: written(model, source, folder),
                }
                table(f"{title}, wall time", compare(ways, rounds=rounds))
                table(f"{title}, CPU time of all threads", compare(ways, rounds=rounds, clock=time.process_time))
            pair = {view: np.zeros((480, 640), np.uint8) + 90 for view in ("LL", "LR")}
            rig = ViewRig(pair_rig())
            found = {view: model(image) for view, image in pair.items()}
            rules = LiftRules(min_confidence=0.0, max_reprojection_px=1e9)
            ways = {
                "two images, one after the other": lambda: [model(image).covariance for image in pair.values()],
                "model.views: and points in space": lambda: model.views(pair, rig, min_confidence=0.0).covariance,
                "points in space alone": lambda: lifted(found, rig, rules).covariance,
            }
            table("a stereo pair of 640 x 480", compare(ways, rounds=50 * rounds))
    for key, value in provenance().items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
