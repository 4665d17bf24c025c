"""Who races: how each is installed, started and asked, and with which settings.

Peers get the defaults of their makers, except where a line says why not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import ONE_THREAD, ROOT, environment
from benchmarks.peers.race import Runner, order_words

__all__ = ["CONTESTANTS", "Contestant"]

SIDE = 256
SAVE_EVERY_S = 10.0

# The version that ours is tested with. Three signs ask for PyPI's own build, with CUDA, also where another one can be
# found: torchvision's wheels go with no other.
TORCH = ("torch===2.13.0", "torchvision==0.28.0")

# What its own list names, without nvidia-dali, which trains on unlabelled video and needs CUDA.
LIGHTNING_POSE_NEEDS = (
    *TORCH,
    *("aniposelib", "h5py", "hydra-core", "imaug", "jaxtyping", "kornia", "lightning>=2.5.0,<2.6.0", "matplotlib"),
    *(
        "moviepy>=2.0.0",
        "numpy",
        "opencv-python-headless",
        "pandas>=2.2.2",
        "pillow",
        "pytorch-lightning>=2.5.0,<2.6.0",
    ),
    *("safetensors", "scikit-learn>=1.5.0", "tensorboard<3.0.0", "transformers>=4.57.5"),
)


class Contestant(NamedTuple):
    """A program that can be trained.

    Args:
        title: for tables.
        worker: module that trains it and predicts with it.
        python: returns the interpreter of its environment, which is made where it is missing.
        newest: pattern of its weights below its home; the one written last counts.
        settings: of the worker, by name of the set.
        plans: whether its learning rate follows a plan for the whole length; else it may train on for ever.
        packages: whose versions are told.
    """

    title: str
    worker: str
    python: Callable[[], Path]
    newest: str
    settings: Callable[[str, Path], dict[str, Any]]
    plans: bool
    packages: tuple[str, ...]

    def start(self, name: str, frames: Path, home: Path, epochs: int, settings: Mapping[str, Any]) -> Runner:
        """Start a training."""
        words = order_words("train", frames=frames, home=home, epochs=epochs, settings=settings)
        return Runner(name, self._command(words), home, lambda: _last_written(home, self.newest), _environment())

    def predict(self, frames: Path, home: Path, settings: Mapping[str, Any], checkpoint: Path) -> np.ndarray:
        """Predict the held-out frames: (F, K, 2) pixels of the full frame, NaN where it tells nothing."""
        output = checkpoint.with_suffix(".npy")
        words = order_words(
            "predict", frames=frames, home=home, settings=settings, checkpoint=checkpoint, output=output
        )
        with checkpoint.with_suffix(".log").open("wb") as log:
            subprocess.run(
                self._command(words),
                check=True,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=checkpoint.parent,
                env={**_environment(), "PYTHONPATH": str(ROOT)},
            )
        return np.asarray(np.load(output))

    def versions(self) -> dict[str, str]:
        """Say which versions it runs with."""
        asked = "import json, sys; from importlib.metadata import version; "
        asked += "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
        told = subprocess.run(
            [str(self.python()), "-c", asked, *self.packages], check=True, capture_output=True, text=True
        )
        return dict(json.loads(told.stdout))

    def _command(self, words: str) -> Sequence[str]:
        return [str(self.python()), "-m", f"benchmarks.peers.{self.worker}", words]


def _last_written(home: Path, pattern: str) -> Path | None:
    return max(home.glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def _environment() -> dict[str, str]:
    return {**os.environ, **ONE_THREAD, "CUDA_VISIBLE_DEVICES": "", "WANDB_MODE": "disabled", "MPLBACKEND": "agg"}


def _ours(_name: str, data: Path) -> dict[str, Any]:
    return {"config": str(data / "keypoint.json"), "batch": 16, "precision": "bf16"}


def _lightning_pose(_name: str, _data: Path) -> dict[str, Any]:
    return {
        **{"backbone": "resnet18", "side": SIDE, "batch": 16, "rate": 1e-3},
        **{"precision": "32-true", "save_every_s": SAVE_EVERY_S},
    }


def _sleap_nn(name: str, _data: Path) -> dict[str, Any]:
    return {
        # As close to 256 pixels a side as a common factor allows: 257 x 264 and 320 x 240.
        "scale": {"mouse": 0.65, "openfield": 0.5}[name],
        # SLEAP's long-standing baseline; the 32 filters and full-size maps that it proposes today train slower still.
        "unet": {"filters": 16, "filters_rate": 2.0, "max_stride": 16, "output_stride": 2},
        "confmaps": {"sigma": 5.0, "output_stride": 2},
        **{"batch": 8, "rate": 1e-3, "precision": "32-true", "save_every_s": SAVE_EVERY_S},
    }


def _bf16(settings: Callable[[str, Path], dict[str, Any]]) -> Callable[[str, Path], dict[str, Any]]:
    return lambda name, data: {**settings(name, data), "precision": "bf16-mixed"}


def _lightning_pose_python() -> Path:
    return environment("lightning-pose", LIGHTNING_POSE_NEEDS, bare=("lightning-pose==2.4.3",))


def _sleap_nn_python() -> Path:
    return environment("sleap-nn", (*TORCH, "sleap-nn==0.3.5"))


_POSE = Contestant(
    title="Lightning Pose, ResNet-18",
    worker="lightning_pose_worker",
    python=_lightning_pose_python,
    newest="newest.ckpt",
    settings=_lightning_pose,
    plans=True,
    packages=("lightning-pose", "lightning", "torch"),
)
_SLEAP = Contestant(
    title="SLEAP-NN, UNet",
    worker="sleap_nn_worker",
    python=_sleap_nn_python,
    newest="newest.ckpt",
    settings=_sleap_nn,
    plans=False,
    packages=("sleap-nn", "lightning", "torch"),
)

CONTESTANTS = {
    "cogkp": Contestant(
        title="cogkp",
        worker="cogkp_worker",
        python=lambda: Path(sys.executable),
        newest="checkpoints/*/checkpoint_latest.pth",
        settings=_ours,
        plans=True,
        packages=("cogkp", "torch"),
    ),
    "lightning-pose": _POSE,
    "sleap-nn": _SLEAP,
    # Neither offers its users bf16 for training; what it would give them is measured all the same.
    "lightning-pose-bf16": _POSE._replace(title=f"{_POSE.title}, bf16", settings=_bf16(_lightning_pose)),
    "sleap-nn-bf16": _SLEAP._replace(title=f"{_SLEAP.title}, bf16", settings=_bf16(_sleap_nn)),
}
