"""Learning has a floor: a training of 300 steps on a rendered recording must reach a stated error on frames set aside.

Everything is seeded and counted in steps, never in seconds, so that a slow machine gets the same figure. The figures
that the floor was chosen from, and those of trainings made worse on purpose, stand in docs/results.md.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from cogkp.config.keypoint.io import starting_loss_terms, structure
from cogkp.config.keypoint.spec import KeypointConfig, Validation
from cogkp.config.train import TrainOptions
from cogkp.data.keypoint.synthetic import demo_config, write_recording
from cogkp.workflows.evaluate import evaluate
from cogkp.workflows.train import train

TRAINED_FRAMES, HELD_OUT_FRAMES = 48, 24
SIDE_PX = 128
OPTIONS = TrainOptions(epochs=50, batch_size=16, learning_rate=1e-2, precision="fp32", num_workers=0, seed=0)
STEPS = 300
MEDIAN_PX = 4.8
MEAN_PX = 9.2


def recording(home: Path) -> KeypointConfig:
    """Draw two recordings and configure points alone, at half the usual side."""
    write_recording(home / "train", TRAINED_FRAMES, seed=0)
    write_recording(home / "held_out", HELD_OUT_FRAMES, seed=1)
    document = demo_config(home / "train", home / "held_out")
    document["augmentations"][0]["output_size"] = SIDE_PX
    changed = {
        "targets": {"keypoints": True, "segmentation": False},
        "stereo_pairing": {"enabled": False},
        "loss_terms": starting_loss_terms(segmentation=False),
    }
    return structure({**document, **changed})


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 40 s of processor time, which a busy machine may stretch
def test_a_rendered_recording_is_learnt_to_the_stated_error(tmp_path: Path) -> None:
    config = recording(tmp_path)
    unwatched = attrs.evolve(config, validation=Validation())
    run = train(unwatched, OPTIONS, checkpoint_root=tmp_path / "runs", log_dir=None)
    report = evaluate(config, model=str(run.checkpoint), output_dir=tmp_path / "evaluation").report["overall"]
    assert run.epochs * TRAINED_FRAMES * 2 == STEPS * OPTIONS.batch_size
    print(f"median {report['median_px']:.3f} px, mean {report['mean_px']:.3f} px")
    assert report["median_px"] < MEDIAN_PX
    assert report["mean_px"] < MEAN_PX
