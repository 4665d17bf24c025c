"""A stereo calibration of OpenCV becomes a rig: in numbers, as a drawing, and as our own file.

Run: python examples/read_opencv_calibration.py [FOLDER]
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

import cogkp
from cogkp.data.calibration import read_calibration


def write_as_opencv_does(path: Path) -> None:
    """Write what cv2.stereoCalibrate returns, as OpenCV's samples do; the unit is that of the board's squares, mm."""
    K = np.array([[820.0, 0.0, 322.0], [0.0, 820.0, 238.5], [0.0, 0.0, 1.0]])
    lens = np.array([[-0.21, 0.08, 0.0004, -0.0006, 0.0]])
    R, _ = cv2.Rodrigues(np.array([0.004, 0.09, -0.002]))
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in {"M1": K, "D1": lens, "M2": 1.01 * K, "D2": 0.9 * lens}.items():
        storage.write(name, value if name != "M2" else np.vstack([value[:2], [0.0, 0.0, 1.0]]))
    storage.write("R", R)
    storage.write("T", np.array([[-60.0], [0.4], [2.5]]))
    storage.release()


def main(folder: Path) -> None:
    """Write a file, read it, look at it, convert it, and place a point."""
    folder.mkdir(parents=True, exist_ok=True)
    write_as_opencv_does(folder / "stereo.yml")

    # The file does not say how large the images were, so we do.
    found = cogkp.check_calibration(
        folder / "stereo.yml", size_wh=(640, 480), convert=folder / "calibration.config.json"
    )
    print(found.report.text())
    print(f"drawn in {found.drawing_path}, converted to {found.converted_path}")

    rig = read_calibration(folder / "calibration.config.json")
    point = torch.tensor([[10.0, -5.0, 400.0]], dtype=torch.float64)
    seen = rig.project(point).uv
    print(f"a point 400 mm ahead: {seen[:, 0].tolist()} px, found again at {rig.triangulate(seen).xyz_world.tolist()}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "opencv_calibration"))
